package weak_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestReleaseCannotBeWeakened: the executables of a build without the tag hold
// no trace of the switches, and those of one with it do.
func TestReleaseCannotBeWeakened(t *testing.T) {
	for _, tt := range []struct {
		name string
		tags string
		want bool
	}{{"release", "", false}, {"weak", "weak", true}} {
		for _, program := range []string{"sbx", "sbxd"} {
			out := filepath.Join(t.TempDir(), program)
			cmd := exec.Command("go", "build", "-tags", tt.tags, "-o", out, "../../cmd/"+program)
			cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, text)
			}
			text, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			names := []string{"SBX_WEAK"}
			if program == "sbx" || tt.tags == "" {
				names = append(names, "SBX_FAULT") // sbxd launches nothing
			}
			for _, name := range names {
				if got := bytes.Contains(text, []byte(name)); got != tt.want {
					t.Errorf("%s of the %s build: %s in it is %v, want %v", program, tt.name, name, got, tt.want)
				}
			}
		}
	}
}
