package live

import (
	"os"
	"testing"

	"github.com/sbx-project/sbx/internal/loader"
)

// TestPermissionLost: the loader may not read a bundle any more, then not the
// registry. What is in force goes on, it is told, nobody else's update waits,
// and what may be read again comes in force.
func TestPermissionLost(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything; make test tries it as an ordinary user")
	}
	f := newFixture(t)
	f.put("tool", manifest("tool", "1.0.0", ""))
	f.put("other", manifest("other", "1.0.0", ""))
	f.start()
	f.version("tool", "1.0.0")
	f.version("other", "1.0.0")

	f.must(os.Chmod(f.dir()+"/tool.yaml", 0))
	f.reaches(loader.Rejected, "tool", 1)
	f.put("other", manifest("other", "1.1.0", ""))
	f.version("other", "1.1.0")
	f.version("tool", "1.0.0")
	f.put("tool", manifest("tool", "1.1.0", ""))
	f.version("tool", "1.1.0")

	f.must(os.Chmod(f.dir(), 0))
	t.Cleanup(func() { os.Chmod(f.dir(), 0o755) })
	f.reaches(loader.Damaged, "", 1)
	f.version("tool", "1.1.0")
	f.version("other", "1.1.0")
	f.must(os.Chmod(f.dir(), 0o755))
	f.put("other", manifest("other", "1.2.0", ""))
	f.version("other", "1.2.0")
	f.version("tool", "1.1.0")
}
