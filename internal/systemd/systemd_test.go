package systemd

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_ACTIVATED") != "" {
		activated()
	}
	os.Exit(testenv.Main(m))
}

// activated prints what Sockets gives in a process that was activated.
func activated() {
	os.Setenv("LISTEN_PID", os.Getenv("SYSTEMD_TEST_ACTIVATED"))
	if os.Getenv("LISTEN_PID") == "own" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	got, err := Sockets()
	if err != nil {
		os.Stdout.WriteString("error: " + err.Error())
	}
	for name := range got {
		os.Stdout.WriteString(name + ";")
	}
	if again, _ := Sockets(); len(again) > 0 || os.Getenv("LISTEN_FDS") != "" {
		os.Stdout.WriteString("twice")
	}
	os.Exit(0)
}

func TestSockets(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, tt := range map[string]struct {
		files     []*os.File
		names     string
		pid, want string
	}{
		"none":            {nil, "", "own", ""},
		"named":           {[]*os.File{socket}, "run", "own", "run;"},
		"another process": {[]*os.File{socket}, "run", "1", ""},
		"no socket":       {[]*os.File{socket, null}, "run:x", "own", `error: descriptor 4 ("x") from the service manager is no listening socket`},
		"name twice":      {[]*os.File{socket, socket}, "run:run", "own", `error: two sockets named "run"`},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.ExtraFiles = tt.files
		cmd.Env = append(os.Environ(), "SYSTEMD_TEST_ACTIVATED="+tt.pid, "LISTEN_FDS="+strconv.Itoa(len(tt.files)), "LISTEN_FDNAMES="+tt.names)
		out, err := cmd.Output()
		if err != nil || !strings.HasPrefix(string(out), tt.want) || tt.want == "" && len(out) > 0 {
			t.Errorf("%s: %q, %v; want %q", name, out, err, tt.want)
		}
	}
}

// manager is the service manager's end of NOTIFY_SOCKET.
func manager(t *testing.T) func(wait time.Duration) string {
	t.Helper()
	path := t.TempDir() + "/notify"
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(wait time.Duration) string {
		c.SetReadDeadline(time.Now().Add(wait))
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			return ""
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	if err := Ready("x"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	told := manager(t)
	if err := errors.Join(Ready("serving\nREADY=0"), Reloading(), Stopping("3 runs")); err != nil {
		t.Fatal(err)
	}
	if got := told(time.Minute); got != "READY=1\nSTATUS=serving READY=0" {
		t.Errorf("%q", got)
	}
	if got := told(time.Minute); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	if got := told(time.Minute); got != "STOPPING=1\nSTATUS=3 runs" {
		t.Errorf("%q", got)
	}
}

func TestWatch(t *testing.T) {
	Watch(t.Context(), func() error { t.Error("asked without a watchdog"); return nil }, nil)
	told := manager(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	ctx, cancel := context.WithCancel(t.Context())
	sick := make(chan error, 1)
	warned := make(chan error, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, func() error {
			select {
			case err := <-sick:
				sick <- err
				return err
			default:
				return nil
			}
		}, func(err error) {
			select {
			case warned <- err:
			default:
			}
		})
	}()
	for range 3 {
		if got := told(time.Minute); got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	sick <- errors.New("stuck")
	if err := <-warned; !strings.Contains(err.Error(), "stuck") {
		t.Errorf("%v", err)
	}
	// What was sent before comes before this.
	if err := Stopping("mark"); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != "STOPPING=1\nSTATUS=mark"; {
		if got = told(time.Minute); got == "" {
			t.Fatal("the mark does not come")
		}
	}
	if got := told(200 * time.Millisecond); got != "" {
		t.Errorf("told %q although it is not well", got)
	}
	<-sick
	if got := told(time.Minute); got != "WATCHDOG=1" {
		t.Errorf("well again, but told %q", got)
	}
	cancel()
	<-done
	t.Setenv("WATCHDOG_USEC", "never")
	Watch(t.Context(), nil, func(err error) { warned <- err })
	if len(warned) == 0 {
		t.Error("a watchdog that cannot be understood was passed over")
	}
}
