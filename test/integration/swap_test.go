package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProgramSwappedInALoop: while another program is put in the place of the
// executable again and again, a run is one of the old, or of the new, or
// refused; and one of the pinned content alone where the bundle has its sha256.
func TestProgramSwappedInALoop(t *testing.T) {
	each(t, func(t *testing.T, h *host) {
		var programs [2]string
		for i, status := range []byte{21, 22} {
			// mov edi, status; mov eax, 60; syscall. They differ in length.
			code := append([]byte{0xbf, status, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05}, make([]byte, i)...)
			programs[i] = string(elfProgram(code))
		}
		path := h.write(t, "program", programs[0], 0o755)
		other := h.write(t, "other", programs[1], 0o755)
		sum := sha256.Sum256([]byte(programs[0]))
		const text = "apiVersion: sbx/v1\nname: %s\nversion: 1.0.0\non_violation: kill\nexec: {path: %s, args: passthrough%s}\n"
		h.write(t, "registry/free.yaml", fmt.Sprintf(text, "free", path, ""), 0o644)
		h.write(t, "registry/pinned.yaml", fmt.Sprintf(text, "pinned", path, ", sha256: \""+hex.EncodeToString(sum[:])+"\""), 0o644)
		for _, direct := range []bool{true, false} {
			if !direct {
				h.serve(t)
			}
			stop := make(chan struct{})
			var swapper sync.WaitGroup
			swapper.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(rand.IntN(60)) * time.Millisecond): // a run takes some 10
					}
					if err := unix.Renameat2(unix.AT_FDCWD, other, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE); err != nil {
						t.Error(err)
						return
					}
				}
			})
			seen := map[string]int{}
			for n := 0; n < rounds(60) && !t.Failed(); n++ {
				name := []string{"free", "pinned"}[n%2]
				// Without --result: a launch that met another program is made
				// once more, and the stream has a line of either.
				r, err := h.try(h.both(direct, call{words: []string{name}, plain: true}))
				if err != nil {
					t.Error(err)
					break
				}
				seen[fmt.Sprint(name, " ", r.status)]++
				if r.status != 21 && r.status != 126 && (r.status != 22 || name == "pinned") {
					t.Errorf("%s, direct %v: neither the old, nor the new, nor refused\n%s", name, direct, r)
				}
			}
			close(stop)
			swapper.Wait()
			t.Logf("direct %v: %v", direct, seen)
			if seen["free 21"]+seen["free 22"] == 0 {
				t.Errorf("direct %v: nothing ran: %v", direct, seen)
			}
			// At rest both are what lies there; a daemon that could make no plan
			// looks again after a second.
			h.write(t, "rest", programs[0], 0o755)
			check(t, os.Rename(h.path("rest"), path))
			for _, name := range []string{"free", "pinned"} {
				for end := time.Now().Add(patience()); ; time.Sleep(10 * time.Millisecond) {
					r := h.run(t, h.both(direct, call{words: []string{name}, plain: true}))
					if r.status == 21 {
						break
					}
					if direct || time.Now().After(end) {
						t.Fatalf("%s, direct %v, at rest\n%s", name, direct, r)
					}
				}
			}
		}
	})
}
