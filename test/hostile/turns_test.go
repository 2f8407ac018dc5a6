package hostile_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// What is skipped where nothing is missing is pinned here by name: with
// SBX_TEST_ROOT=1 an act that is skipped and is not in these lists fails, so
// that none goes unnoticed.
const (
	// weaknesses are known and written down in SECURITY.md.
	weaknesses = "ro-fifo-read stdin-socket sum-rw count-rw"
	// counted are held by a controller alone, which only root has here, and
	// not on every host.
	counted = "mem-shared-dropped mem-socketpairs cpu-spin"
	// countedOrRoot are held for root also without one.
	countedOrRoot = "mem-sysv-detached mem-msgqueues mem-semaphores"
	// once take long and do not depend on the verdict of the filter.
	once = `mem-one mem-eight mem-thirty mem-eight-groups mem-memfd mem-page-tables mem-tmpfs mem-tmpfs-unlinked mem-shm-dir mem-pipes mem-locked
		mem-sysv-detached mem-msgqueues mem-semaphores mem-shared-dropped mem-socketpairs pids-fork pids-sessions pids-chain pids-threads ptys late-mount
		endless-spin endless-sleep endless-children endless-relay endless-vfork endless-write endless-stopped cpu-spin`
	// ofUserNS is about the namespace that there is none of where they are
	// disabled.
	ofUserNS = "private-user"
	// emulated is not for QEMU's processor: a far return to a 32-bit segment
	// faults inside the kernel there (seen with 7.2 on 6.1 and 6.12, without
	// any sandbox as well).
	emulated = "i386-far-call"
)

// maySkip are the acts that this caller may skip here.
func maySkip(c caller) []string {
	list := weaknesses
	if c.uid != 0 || !controlled() {
		list += " " + counted
	}
	if c.uid != 0 {
		list += " " + countedOrRoot
	}
	if c.verdict == "errno" {
		list += " " + once
	}
	if testenv.Guest() {
		list += " " + emulated
	}
	return strings.Fields(list)
}

// pin fails an act that is skipped and may not be.
func pin(t *testing.T, a act, c caller) {
	t.Cleanup(func() {
		if t.Skipped() && testenv.Strict() && !slices.Contains(maySkip(c), a.name) {
			t.Errorf("SBX_TEST_ROOT=1 and %s is skipped for %s: it is not pinned as one that may be (turns_test.go)", a.name, c.name)
		}
	})
}

// controlled tells whether root's control groups bound memory and time.
func controlled() bool {
	text, _ := os.ReadFile(testenv.CgroupMount() + "/cgroup.controllers")
	have := strings.Fields(string(text))
	return slices.Contains(have, "memory") && slices.Contains(have, "cpu")
}

func realProcessor(t *testing.T, _ caller) {
	if testenv.Guest() {
		t.Skip("the guest's processor is emulated: its far return faults inside the kernel")
	}
}

// taker is who tries act number i: one who does not skip it.
func taker(i int, a act, from []caller) caller {
	able := slices.DeleteFunc(slices.Clone(from), func(c caller) bool { return slices.Contains(maySkip(c), a.name) })
	if len(able) == 0 {
		able = from
	}
	return able[(i+testenv.Turn())%len(able)]
}

// testShare is SBX_TEST_SHARE: of so many acts a guest tries one, another one
// the next day. Without it it tries all.
func testShare(t *testing.T) int {
	text := os.Getenv("SBX_TEST_SHARE")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SBX_TEST_SHARE=%q is not a number above 0", text)
	}
	return n
}

// due tells whether act number i is among those of today. Neighbours in the
// table are much alike, so that each share has some of every kind.
func due(i, share int) bool {
	today := int(time.Now().Unix() / (24 * 60 * 60))
	return (i+testenv.Turn()/2+today)%share == 0
}

// TestPinned: what is pinned exists, and an act that takes long is pinned as
// such.
func TestPinned(t *testing.T) {
	names := map[string]bool{}
	for _, a := range all() {
		names[a.name] = true
		if a.long != slices.Contains(strings.Fields(once), a.name) {
			t.Errorf("act %s: long is %v, and the list of what is tried once says otherwise", a.name, a.long)
		}
	}
	for _, name := range strings.Fields(weaknesses + " " + counted + " " + countedOrRoot + " " + once + " " + ofUserNS + " " + emulated) {
		if !names[name] {
			t.Errorf("%s is pinned as skipped, and there is no such act", name)
		}
	}
}
