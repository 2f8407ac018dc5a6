package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQMP(t *testing.T) {
	var sent bytes.Buffer
	answers := `{"QMP": {"version": {}}}
{"return": {}}
{"event": "STOP", "data": {}}
{"return": {"status": "active"}}
{"error": {"class": "GenericError", "desc": "no such thing"}}
`
	q, err := openQMP(struct {
		io.Reader
		io.Writer
	}{strings.NewReader(answers), &sent})
	if err != nil {
		t.Fatal(err)
	}
	got, err := q.do("query-migrate", map[string]any{"a": 1})
	if err != nil || got["status"] != "active" {
		t.Errorf("query-migrate: got %v, %v", got, err)
	}
	if _, err := q.do("bad", nil); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("bad: got %v, want QEMU's words", err)
	}
	if _, err := q.do("late", nil); err == nil {
		t.Error("a closed connection gave no error")
	}
	want := `{"execute":"qmp_capabilities"}
{"arguments":{"a":1},"execute":"query-migrate"}
{"execute":"bad"}
{"execute":"late"}
`
	if diff := cmp.Diff(want, sent.String()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}
