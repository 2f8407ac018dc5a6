package daemon

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
)

// TestWanted: the daemon waits for no descriptor of a secret parameter. It says
// which ones it needs, forgets the call, and takes what comes with the next one
// as the parameter bounds it; no answer and no observer repeats a value.
func TestWanted(t *testing.T) {
	n := &notes{full: errors.New("all is there")}
	list := []plan.Param{
		{Name: "token", Type: plan.ParamString, Secret: true, Max: 12},
		{Name: "keys", Type: plan.ParamString, Secret: true, List: true, Max: 99},
	}
	s := serve(t, Config{Observer: n, Commands: table{"token": {Plan: &plan.Plan{
		Command: "token", Declared: true, Params: list, Words: []plan.Word{{{Kind: plan.PartParam, Param: 0}}},
	}}}})
	many := make([]string, 0, 32000)
	for i := range 16000 {
		many = append(many, "--keys", "@"+strconv.Itoa(3+i))
	}
	held := func(fd int, value string) wire.Secret { return wire.Secret{FD: fd, Value: value} }
	for _, tt := range []struct {
		name    string
		words   []string
		secrets []wire.Secret
		wanted  wire.Wanted // else:
		err     string
	}{
		{name: "nothing came", words: []string{"--token", "@3"}, wanted: wire.Wanted{{FD: 3, Limit: 13}}},
		{name: "another came", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(4, "s3cret")}, wanted: wire.Wanted{{FD: 3, Limit: 13}}},
		{name: "one of two came", words: []string{"--token", "@3", "--keys=@7", "--keys=@3"}, secrets: []wire.Secret{held(3, "s3cret")}, wanted: wire.Wanted{{FD: 3, Limit: 100}, {FD: 7, Limit: 100}}},
		{name: "it came", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, "s3cret\n")}, err: "all is there"},
		{name: "more came than was asked for", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, "s3cret"), held(1, "s3cret"), held(9, "s3cret")}, err: "all is there"},
		{name: "too long", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, "s3crets3cret!")}, err: "token: --token: is longer than 12 bytes"},
		{name: "far too long", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, strings.Repeat("s3cret", 9))}, err: "token: --token @3: more than 12 bytes"},
		{name: "NUL", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, "s3cret\x00")}, err: "token: --token: has a NUL byte"},
		{name: "like an option", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, "-s3cret")}, err: "token: --token: begins with -, so the program would take it for an option"},
		{name: "could not be read", words: []string{"--token", "@3"}, secrets: []wire.Secret{{FD: 3, Err: "is a directory"}}, err: "token: --token @3: is a directory"},
		{name: "in the open", words: []string{"--token", "s3cret"}, err: "token: --token is secret: give @FD, the number of a descriptor that it is read from, as in --token @3 3<FILE"},
		{name: "the caller's output", words: []string{"--token", "@1"}, secrets: []wire.Secret{held(1, "s3cret")}, err: "token: --token is secret: give @FD, the number of a descriptor that it is read from, as in --token @3 3<FILE"},
		{name: "too much by far", words: []string{"--token", "@3"}, secrets: []wire.Secret{held(3, strings.Repeat("s", wire.MaxSecret+1))}, err: "malformed message"},
		{name: "very many", words: many, secrets: slices.Repeat([]wire.Secret{held(2, "")}, 60000), wanted: nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n.mu.Lock()
			n.refusal = nil
			n.mu.Unlock()
			r := wire.Request{Version: wire.Version, Build: "dev", Words: append([]string{"token"}, tt.words...), Builtin: true, Secrets: tt.secrets}
			c := connect(t, s.Path())
			watch := testenv.Begin()
			if err := c.Send(wire.TypeRequest, r.Encode(), four(t)...); err != nil {
				t.Fatal(err)
			}
			typ, body, _, err := c.Receive(0)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(body), "s3cret") {
				t.Errorf("the answer holds the secret: %q", body)
			}
			switch {
			case tt.err != "":
				rep, err := wire.DecodeReport(body)
				if typ != wire.TypeDone || err != nil || rep.ExitCode != 125 || rep.Err == nil || rep.Err.Error() != tt.err {
					t.Fatalf("type %d, %v, %+v; want %q", typ, err, rep, tt.err)
				}
				if tt.err == "all is there" {
					break // the observer's own
				}
				if got := n.refusals(t)[0]; strings.Contains(got.Reason, "s3cret") || got.Status != 125 {
					t.Errorf("observed %+v", got)
				}
			default:
				w, err := wire.DecodeWanted(body)
				if typ != wire.TypeWanted || err != nil {
					t.Fatalf("type %d, %v; want what is to be read", typ, err)
				}
				if d := cmp.Diff(tt.wanted, w); d != "" && tt.wanted != nil || tt.wanted == nil && len(w) != 16000 {
					t.Errorf("(-want +got) %s", d)
				}
				if took := watch.Took(); took > 5*time.Second {
					t.Errorf("it took %v", took)
				}
				// The daemon has let go of the call.
				if typ, _, _, err := c.Receive(0); err != wire.ErrEnd {
					t.Errorf("type %d, %v; want the end", typ, err)
				}
				n.mu.Lock()
				defer n.mu.Unlock()
				if len(n.refusal) > 0 {
					t.Errorf("a refusal is observed: %+v", n.refusal)
				}
			}
		})
	}
	alive(t, s)
}
