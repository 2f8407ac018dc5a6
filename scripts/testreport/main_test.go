package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stream is made of events as go test prints them.
func stream(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func TestReport(t *testing.T) {
	tests := []struct {
		name   string
		in     string
		out    string
		failed bool
		skips  []skip
	}{
		{
			name: "a package that passes shows its closing line only",
			in: stream(`{"Action":"start","Package":"p"}`,
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"a.go:1: noise\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Output":"PASS\n"}`,
				`{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`,
				`{"Action":"pass","Package":"p","Elapsed":0.1}`),
			out: "ok  \tp\t0.1s\n",
		},
		{
			name: "a binary without go test gets a closing line",
			in:   stream(`{"Action":"start","Package":"p"}`, `{"Action":"pass","Package":"p","Elapsed":0.25}`),
			out:  "ok  \tp\t0.250s\n",
		},
		{
			name: "a failed test shows what it printed",
			in: stream(`{"Action":"start","Package":"p"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: got 1, want 2\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}`,
				`{"Action":"fail","Package":"p"}`),
			out: "    a_test.go:7: got 1, want 2\nFAIL\tp\t0.1s\n", failed: true,
		},
		{
			name: "a skip is kept with its reason",
			in: stream(`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    gates.go:20: not root\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`),
			skips: []skip{{"here", "p", "TestA", "not root"}},
		},
		{
			name: "a package that never ends has failed",
			in:   stream(`{"Action":"start","Package":"p"}`, `{"Action":"output","Package":"p","Test":"TestA","Output":"stuck\n"}`),
			out:  "FAIL\tp\tended without a result\nstuck\n", failed: true,
		},
		{
			name:   "a package that does not build has failed",
			in:     stream(`{"Action":"build-output","ImportPath":"p","Output":"x.go:1: bad\n"}`, `{"Action":"build-fail","ImportPath":"p"}`),
			out:    "x.go:1: bad\n",
			failed: true,
		},
		{
			name: "other lines pass",
			in:   "linux 6.12\n{not json\n",
			out:  "linux 6.12\n{not json\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			r := newReader("here", &out)
			for line := range strings.Lines(tt.in) {
				r.line(line)
			}
			r.end()
			if d := cmp.Diff(tt.out, out.String()); d != "" {
				t.Errorf("output (-want +got):\n%s", d)
			}
			if r.failed != tt.failed {
				t.Errorf("failed = %v, want %v", r.failed, tt.failed)
			}
			if d := cmp.Diff(tt.skips, r.skips); d != "" {
				t.Errorf("skips (-want +got):\n%s", d)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips")
	var out, errs bytes.Buffer
	if status := run([]string{"-summary", path}, nil, &out, &errs); status != 0 || out.String() != "skipped: nothing\n" {
		t.Errorf("no file: status %d, %q, %q; want 0 and nothing skipped", status, out.String(), errs.String())
	}
	in := stream(`{"Action":"output","Package":"p","Test":"TestA","Output":"    g.go:2: not root\n"}`, `{"Action":"skip","Package":"p","Test":"TestA"}`)
	for range 2 { // a second run adds to the file
		if status := run([]string{"-label", "user", "-skips", path}, strings.NewReader(in), &out, &errs); status != 0 {
			t.Fatalf("status %d: %s", status, errs.String())
		}
	}
	out.Reset()
	if status := run([]string{"-summary", path}, nil, &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	want := "skipped: 2 tests\n     2  user: not root\n        TestA, TestA\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("summary (-want +got):\n%s", d)
	}
	if err := os.WriteFile(path, []byte("{broken\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status := run([]string{"-summary", path}, nil, &out, &errs); status != 2 {
		t.Errorf("a broken file: status %d, want 2", status)
	}
}

func TestStatus(t *testing.T) {
	var out, errs bytes.Buffer
	in := stream(`{"Action":"fail","Package":"p"}`)
	if status := run(nil, strings.NewReader(in), &out, &errs); status != 1 {
		t.Errorf("a failure: status %d, want 1", status)
	}
	if status := run([]string{"-no-such-flag"}, strings.NewReader(""), &out, &errs); status != 2 {
		t.Errorf("a bad flag: status %d, want 2", status)
	}
}
