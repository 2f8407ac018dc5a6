package main

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/state"
)

// The verbs of this file ask a daemon through its admin socket.

// asking are the flags that all of them have.
type asking struct {
	registry string
	output
}

func (a *asking) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.registry, "registry", "", "ask the daemon of this registry")
	a.output.flags(c)
}

// dial finds the daemon: that of --registry, else of the registries that apply,
// the last one first as `sbx serve` does, else that of the built-in one.
func (a *asking) dial(ctx context.Context) (*admin.Client, error) {
	list := ctl.Registries(a.registry)
	keys := registryKeys(list)
	if a.registry != "" && len(keys) == 0 {
		var st unix.Stat_t
		if err := unix.Stat(list[0], &st); err != nil {
			return nil, &os.PathError{Op: "open", Path: a.registry, Err: err}
		}
	}
	if a.registry == "" {
		keys = append(keys, state.BuiltinKey)
	}
	d, err := dialKeys(ctx, keys)
	if d == nil && err == nil {
		err = &statusError{125, errors.New("no daemon runs for this registry"), "systemctl start sbx, or: sbx serve"}
	}
	return d, err
}

// registryKeys are the keys of those directories that exist, the last first.
func registryKeys(list []string) (keys []string) {
	for i := len(list) - 1; i >= 0; i-- {
		var st unix.Stat_t
		if err := unix.Stat(list[i], &st); err == nil {
			keys = append(keys, state.RegistryKey(&st))
		}
	}
	return keys
}

// dialKeys finds the first daemon of those registries; nil without an error
// when none runs.
func dialKeys(ctx context.Context, keys []string) (*admin.Client, error) {
	dir := ctl.RuntimeDir()
	if dir == "" {
		return nil, nil
	}
	for _, key := range keys {
		c, err := admin.Dial(dir, admin.SocketName(key))
		if err == nil {
			if err = c.Get(ctx, "/-/healthy", &admin.Health{}); err == nil {
				return c, nil
			}
			c.Close()
		}
		if !errors.Is(err, admin.ErrNoDaemon) {
			return nil, refusedByDaemon(err)
		}
	}
	return nil, nil
}

// refusedByDaemon gives a daemon's answer its hint.
func refusedByDaemon(err error) error {
	var answer *admin.AnswerError
	switch {
	case errors.As(err, &answer):
		return &statusError{125, err, answer.Hint}
	case errors.Is(err, unix.EACCES):
		return &statusError{126, errors.New("the daemon's admin socket is for its own user"), "as root"}
	}
	return err
}

// clean makes what a workload or a bundle chose fit for a terminal and for one
// cell of a table.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return clean(s)
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return clean(u.Username)
	}
	return id
}

func ago(t time.Time) string {
	d := time.Since(t)
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
