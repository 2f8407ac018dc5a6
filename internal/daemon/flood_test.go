package daemon

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
	"github.com/sbx-project/sbx/internal/wire"
	"github.com/sbx-project/sbx/runner"
)

// TestFlood: a client that never stops talking keeps nobody from looking at the
// clock: his run ends at its timeout, whatever it is that he says.
func TestFlood(t *testing.T) {
	testenv.NoLeaks(t)
	s := serve(t, Config{Commands: launched(t)})
	for _, tt := range []struct {
		name    string
		message []byte
	}{
		{"signals", []byte{byte(wire.TypeSignal), 0, byte(unix.SIGWINCH)}},
		{"what is no message", []byte{0xff}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, s.Path())
			r := wire.Request{Version: wire.Version, Build: "dev", Words: []string{"sh", "trap '' TERM; sleep 60"}, Builtin: true, Timeout: 500 * time.Millisecond}
			if err := c.Send(wire.TypeRequest, r.Encode(), four(t)...); err != nil {
				t.Fatal(err)
			}
			receive(t, c, wire.TypeBegun)
			var talk sync.WaitGroup
			for range 16 {
				talk.Go(func() {
					for unix.Sendmsg(c.FD, tt.message, nil, nil, unix.MSG_NOSIGNAL) == nil {
					}
				})
			}
			watch := testenv.Begin()
			report, err := wire.DecodeReport(receive(t, c, wire.TypeDone))
			unix.Shutdown(c.FD, unix.SHUT_RDWR)
			talk.Wait()
			if err != nil || report.Outcome != runner.Timeout {
				t.Errorf("%+v, %v", report, err)
			}
			if took := watch.Took(); took > 10*time.Second {
				t.Errorf("it ended after %v", took)
			}
			alive(t, s)
		})
	}
}
