package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/state"
)

// site is a registry with state and sockets of its own.
type site struct {
	dir, sbx string
	env      []string
}

// newSite makes the registry, empty, below dir.
func newSite(dir, sbx string) (*site, error) {
	s := &site{dir: dir, sbx: sbx}
	if err := os.MkdirAll(s.registry(), 0o755); err != nil {
		return nil, err
	}
	s.env = []string{
		"PATH=/usr/bin:/bin",
		"SBX_STATE=" + s.state(),
		"SBX_RUNTIME=" + s.runtime(),
		"SBX_REGISTRY=" + s.registry(),
	}
	return s, nil
}

func (s *site) registry() string { return filepath.Join(s.dir, "registry") }
func (s *site) state() string    { return filepath.Join(s.dir, "state") }
func (s *site) runtime() string  { return filepath.Join(s.dir, "run") }

// put writes a one-file bundle as a deployment does: by rename.
func (s *site) put(name, text string) error {
	file := filepath.Join(s.registry(), name+".yaml")
	if err := os.WriteFile(file+"~", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(file+"~", file)
}

// run is a call of a registered command.
func (s *site) run(name string, flags ...string) *command {
	return &command{argv: append(append([]string{s.sbx, "run"}, flags...), name), env: s.env}
}

// dial makes a client of the site's daemon.
func (s *site) dial() (*admin.Client, error) {
	var st unix.Stat_t
	if err := unix.Stat(s.registry(), &st); err != nil {
		return nil, err
	}
	return admin.Dial(s.runtime(), admin.SocketName(state.RegistryKey(&st)))
}

// server is a daemon of a site.
type server struct {
	cmd  *exec.Cmd
	said bytes.Buffer
	// ended has the result of its end.
	ended chan error
}

// startLimit is how long a daemon may take until it serves: ten times what is
// promised for 10,000 bundles and no state.
const startLimit = 100 * time.Second

// serve starts `sbx serve` and waits until there is a run socket.
func (s *site) serve() (*server, error) {
	d := &server{cmd: exec.Command(filepath.Join(filepath.Dir(s.sbx), "sbxd"), "serve"), ended: make(chan error, 1)}
	d.cmd.Env = s.env
	d.cmd.Stderr = &d.said
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { d.ended <- d.cmd.Wait() }()
	for end := time.Now().Add(startLimit); ; time.Sleep(time.Millisecond) {
		if found, _ := filepath.Glob(s.runtime() + "/*.sock"); len(found) > 0 {
			return d, nil
		}
		select {
		case err := <-d.ended:
			return nil, fmt.Errorf("sbx serve: %w: %s", err, d.said.String())
		default:
		}
		if time.Now().After(end) {
			return nil, errors.Join(errors.New("sbx serve makes no socket"), d.stop())
		}
	}
}

// stop ends the daemon.
func (d *server) stop() error {
	d.cmd.Process.Signal(syscall.SIGTERM)
	return <-d.ended
}
