package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/harden"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/systemd"
)

// runSocket is the name of the run socket in the unit (FileDescriptorName=).
const runSocket = "run"

// serveCommand is the daemon.
func serveCommand() *cobra.Command {
	var registry string
	var web webFlags
	c := &cobra.Command{Use: "serve [--registry DIR]", Short: "Serve the commands of a registry to local users", Args: cobra.NoArgs,
		Long: `Serve the commands of one registry on a socket, until told to end.

SIGTERM and SIGINT end it: it takes no more calls and waits a minute for runs.
SIGHUP looks at the registry again. Its own end, in any way, ends every run.`,
		RunE: func(*cobra.Command, []string) error { return serve(registry, web) }}
	web.flags(c.Flags())
	c.Flags().StringVar(&registry, "registry", "", "the registry to serve (default: SBX_REGISTRY, then the system's or the user's own)")
	return c
}

// servedRegistry is the directory to serve; empty: the built-in registry alone.
func servedRegistry(flag string) (dir, key string, err error) {
	list := ctl.Registries(flag)
	dir = list[len(list)-1] // of an ordinary user: his own
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	var st unix.Stat_t
	switch err := unix.Stat(dir, &st); {
	case err == unix.ENOENT && flag == "" && os.Getenv("SBX_REGISTRY") == "":
		return "", state.BuiltinKey, nil
	case err != nil:
		return "", "", &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return dir, state.RegistryKey(&st), nil
}

func serve(flag string, web webFlags) error {
	if err := web.check(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	// First of all: it may execute this program once more.
	if err := harden.Bound(); err != nil {
		log.Warn("ignoring: the daemon keeps all of root's capabilities", "error", err)
	}
	// Before anything runs: the checks of bundles are runs as well.
	if err := cgroup.Stay(); err != nil {
		log.Warn("ignoring: runs are not below the unit's own control group", "error", err)
	}
	registry, key, err := servedRegistry(flag)
	if err != nil {
		return &statusError{125, err, ""}
	}
	dir := ctl.RuntimeDir()
	if dir == "" {
		return &statusError{125, errors.New("there is no runtime directory"), "set XDG_RUNTIME_DIR or SBX_RUNTIME"}
	}
	host, err := config.Load()
	if err != nil {
		return err
	}
	sockets, err := systemd.Sockets()
	if err != nil {
		return err
	}
	// Nothing of where it was started from reaches a run.
	if err := os.Chdir("/"); err != nil {
		return &statusError{125, err, ""}
	}
	unix.Umask(0o022)
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, unix.SIGHUP)
	list := ctl.RegistryList(registry, "/")
	if flag == "" && os.Getenv("SBX_REGISTRY") == "" {
		list = ctl.RegistryList("", "/")
	}
	served, err := openCommands(registry, list)
	if err != nil {
		return err
	}
	defer served.set.Close()
	o, err := newOperations(operationsConfig{key: key, registries: list, registry: known{served}, host: host, log: log})
	if err != nil {
		return err
	}
	served.listen(o.notify)
	s, err := daemon.Listen(daemon.Config{
		Dir: dir, Key: key, Build: buildinfo.Build, Commands: configured{served, o}, Registries: ctl.Registries(registry),
		Observer: o.observers(), Audited: true, Socket: sockets[runSocket],
	})
	if err == nil {
		if err = o.listen(dir, key, web); err != nil {
			stop() // it has answered nobody, and need not drain
			err = errors.Join(err, s.Serve(ctx))
		}
	}
	if errors.Is(err, daemon.ErrSecond) {
		err = &statusError{125, err, "sbx status; one daemon serves a registry"}
	}
	if err != nil {
		return errors.Join(err, o.close())
	}
	if err := harden.Seal(); err != nil {
		stop()
		return errors.Join(err, s.Serve(ctx), o.close())
	}
	what := registry
	if what == "" {
		what = "the built-in commands"
	}
	status := "serving " + what + " on " + s.Path()
	ctl.Say(true, status)
	o.daemon.Store(s)
	o.serve(ctx, s, status)
	go func() {
		for range again {
			o.reload(s, status)
		}
	}()
	defer context.AfterFunc(ctx, func() { o.tell(systemd.Stopping("waiting for runs")) })()
	return errors.Join(s.Serve(ctx), o.close())
}
