package live

import (
	"os"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry/life"
)

// TestDistrustedIsTold: what is in force and is not believed any more refuses,
// and is told once as 412, however often it is looked at; when it is believed
// again it runs, and the next doubt is told again.
func TestDistrustedIsTold(t *testing.T) {
	f := newFixture(t)
	ops, other := f.signer(), f.signer()
	f.publishers(false, ops.public(), nil, nil)
	digest := ops.put("tool", "tool", manifest("tool", "1.0.0", ""))
	f.must(os.Mkdir(f.dir()+"/dir", 0o755))
	f.must(os.WriteFile(f.dir()+"/dir/bundle.yaml", []byte(manifest("dir", "1.0.0", "")), 0o644))
	f.start()
	f.runnable("tool", "1.0.0")
	f.runnable("dir", "1.0.0")
	told := func(name string, kind loader.Kind, n int, why string) {
		t.Helper()
		f.reaches(kind, name, n)
		for range 3 {
			_, err := f.set.Reload()
			f.must(err)
		}
		if got := f.count(kind, name); got != n {
			t.Errorf("%s: %d events %s, want %d", name, got, kind, n)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, e := range f.events {
			if e.Name == name && e.Kind == kind && (e.Code != life.Untrusted || e.Version != "1.0.0" || e.Digest == "" || e.InForce != "" || e.Generation == 0 || !strings.Contains(e.Reason, why)) {
				t.Errorf("%+v, want 412 for %s", e, why)
			}
		}
	}

	for n := 1; n <= 2; n++ {
		// Its publisher's right is withdrawn.
		f.publishers(false, other.public(), nil, nil)
		f.untrusted("tool")
		told("tool", loader.Distrusted, n, "")
		f.publishers(false, ops.public(), nil, nil)
		f.runnable("tool", "1.0.0")

		// Others may write its bundle.
		f.must(os.Chmod(f.dir()+"/dir", 0o777))
		f.untrusted("dir")
		f.must(os.Chmod(f.dir()+"/dir", 0o755))
		f.runnable("dir", "1.0.0")
	}
	f.must(os.Chmod(f.dir()+"/dir", 0o777))
	told("dir", loader.Distrusted, 3, f.dir()+"/dir")

	// It is taken back.
	f.publishers(false, ops.public(), []string{digest}, nil)
	told("tool", loader.Quarantined, 1, "revoked")
	if n := f.count(loader.Distrusted, "tool"); n != 2 {
		t.Errorf("%d events of distrust, want 2", n)
	}
}
