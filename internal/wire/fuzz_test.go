package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/runner"
)

// FuzzDecode: no bytes make a decoder panic or take more room than a multiple
// of them, and what is decoded is encoded to the same again.
func FuzzDecode(f *testing.F) {
	f.Add(request().Encode())
	f.Add((&Request{Version: Version, Words: []string{"token", "--token", "@3"}, Secrets: []Secret{{FD: 3, Value: "s\x00\n"}, {FD: 0, Err: "is a directory"}}}).Encode())
	f.Add((&Wanted{{FD: 3, Limit: 65}}).Encode())
	f.Add((&Need{Cwd: true, Paths: []Path{{"a", plan.AccessRead, "b"}}}).Encode())
	f.Add(EncodeReport(&runner.Report{Layers: []runner.Layer{{Name: "a"}}, Violations: []runner.Call{{NR: -1}}}))
	f.Add([]byte{Version, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeRequest(b); err == nil && r.Version == Version {
			if d := cmp.Diff(string(b), string(r.Encode())); d != "" {
				t.Errorf("request (-want +got) %s", d)
			}
			for _, w := range append(append(append([]string{}, r.Words...), r.Environ...), r.Env...) {
				for i := range len(w) {
					if w[i] == 0 {
						t.Errorf("NUL in %q", w)
					}
				}
			}
		}
		if n, err := DecodeNeed(b); err == nil {
			if d := cmp.Diff(string(b), string(n.Encode())); d != "" {
				t.Errorf("need (-want +got) %s", d)
			}
		}
		if w, err := DecodeWanted(b); err == nil {
			if d := cmp.Diff(string(b), string(w.Encode())); d != "" {
				t.Errorf("wanted (-want +got) %s", d)
			}
		}
		if r, err := DecodeReport(b); err == nil {
			again, err := DecodeReport(EncodeReport(r))
			if err != nil || string(again.JSON()) != string(r.JSON()) {
				t.Errorf("report: %v\n%s%s", err, r.JSON(), again.JSON())
			}
		}
	})
}
