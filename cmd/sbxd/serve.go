package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/state"
)

// serveCommand is the daemon.
func serveCommand() *cobra.Command {
	var registry string
	c := &cobra.Command{Use: "serve [--registry DIR]", Short: "Serve the commands of a registry to local users", Args: cobra.NoArgs,
		Long: `Serve the commands of one registry on a socket, until told to end.

SIGTERM and SIGINT end it: it takes no more calls and waits a minute for runs.
SIGHUP looks at the registry again. Its own end, in any way, ends every run.`,
		RunE: func(*cobra.Command, []string) error { return serve(registry) }}
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

func serve(flag string) error {
	registry, key, err := servedRegistry(flag)
	if err != nil {
		return &statusError{125, err, ""}
	}
	dir := ctl.RuntimeDir()
	if dir == "" {
		return &statusError{125, errors.New("there is no runtime directory"), "set XDG_RUNTIME_DIR or SBX_RUNTIME"}
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
	s, err := daemon.Listen(daemon.Config{
		Dir: dir, Key: key, Build: buildinfo.Build, Commands: served, Registries: ctl.Registries(registry),
	})
	if errors.Is(err, daemon.ErrSecond) {
		return &statusError{125, err, "sbx status; one daemon serves a registry"}
	}
	if err != nil {
		return err
	}
	what := registry
	if what == "" {
		what = "the built-in commands"
	}
	ctl.Say(true, "serving "+what+" on "+s.Path())
	go func() {
		for range again {
			if r := s.Reload(); r.Err != nil {
				ctl.Say(true, "keeping what is in force: "+r.Err.Error())
			}
		}
	}()
	return s.Serve(ctx)
}
