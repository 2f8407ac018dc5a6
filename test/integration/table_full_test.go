package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestFullTable: sbx in a control group that has room for few processes and
// threads, root's too, whom RLIMIT_NPROC does not bind. It runs what it was
// told to, or ends with words; nothing is taken for a good run, and nothing is
// left.
func TestFullTable(t *testing.T) {
	testenv.Root(t)
	testenv.Controllers(t, "pids")
	needPrograms(t, "/usr/bin/dash")
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		// One process of one thread: the run itself has room where sbx has.
		words := []string{"/usr/bin/dash", "-c", "exit 42"}
		wantEnd(t, h.run(t, call{words: words}), 42, "exit") // keeps the plan
		group := filepath.Join(testenv.CgroupMount(), "sbx-test-"+strconv.Itoa(os.Getpid())+"-full")
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Rmdir(group); err != nil {
				t.Error(err)
			}
		})
		dir, err := os.Open(group)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		ended := map[int]int{}
		for n := 1; n <= 10; n++ {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				if err := os.WriteFile(group+"/pids.max", []byte(strconv.Itoa(n)), 0); err != nil {
					t.Fatal(err)
				}
				for _, plain := range []bool{true, false} { // with a report Go's runtime is needed
					c := call{words: words, plain: plain}
					c.attr.UseCgroupFD, c.attr.CgroupFD = true, int(dir.Fd())
					r := h.run(t, c)
					ended[r.status]++
					said := r.status == 125 && strings.HasPrefix(r.stderr, "sbx: ")
					// Too few for Go's runtime itself: it says so and ends.
					runtime := r.status == 2 && strings.HasPrefix(r.stderr, "runtime: ") && n < 8
					if r.status != 42 && !said && !runtime {
						t.Errorf("%d processes, plain %v: it neither ran nor was it refused with words\n%s", n, plain, r)
					}
					nothingLeft(t, time.Second)
				}
			})
		}
		t.Logf("ended with (status: times): %v", ended)
		if ended[42] == 0 || h.uid != 0 && ended[125]+ended[2] == 0 {
			t.Errorf("ended with (status: times) %v: it was never short of processes, or always", ended)
		}
	})
}
