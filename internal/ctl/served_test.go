package ctl

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// TestForeignBuild: where a daemon of another build has not taken a call, and
// without one it is refused, the hint says what mends that.
func TestForeignBuild(t *testing.T) {
	other := errors.New("something else")
	for _, tt := range []struct {
		name, build string
		err         error
		want        bool
	}{
		{"another build", "0123456789abcdef", runner.ErrNeedsDaemon, true},
		{"this build, which ends", buildinfo.Build, runner.ErrNeedsDaemon, false},
		{"another build, and another reason", "0123456789abcdef", other, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(pair[0])
			defer unix.Close(pair[1])
			if err := (&wire.Conn{FD: pair[1]}).Send(wire.TypeElsewhere, []byte(tt.build)); err != nil {
				t.Fatal(err)
			}
			v := &Invocation{}
			s := &session{v: v, conn: wire.Conn{FD: pair[0]}, signals: -1}
			if rep := s.answers(); rep != nil {
				t.Fatalf("report %+v, want none", rep)
			}
			rep := refused(runner.StatusRefused, "run", tt.err, "before")
			v.blameBuild(rep)
			said := strings.Contains(rep.Hint, tt.build) && strings.Contains(rep.Hint, "another build") && strings.Contains(rep.Hint, "systemctl restart sbx")
			if said != tt.want || !tt.want && rep.Hint != "before" {
				t.Errorf("hint %q, want a word about the build: %v", rep.Hint, tt.want)
			}
		})
	}
}
