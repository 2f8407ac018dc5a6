package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/publish"
	"github.com/sbx-project/sbx/registry"
)

func installCommand() *cobra.Command {
	var registryDir string
	var asJSON bool
	c := &cobra.Command{Use: "install PATH", Short: "Put a bundle into a registry", Args: cobra.ExactArgs(1),
		Long: `Put a bundle into a registry: a directory with a bundle.yaml, or a file NAME.yaml.

Its signature is verified where there are publishers files, then it is checked as
"sbx check" does, copied, and given its name by one rename: the registry has the
old one or the new one, whole, whatever happens. An older version than the one
that is there is refused, and so is a name that is a group.

The registry is --registry, SBX_REGISTRY, /etc/sbx/registry as root, else your
own: $XDG_CONFIG_HOME/sbx/registry or ~/.config/sbx/registry, which is made.`,
		Example: "  sbx install ./db-backup\n  sbx install ./jq.yaml --registry /srv/registry",
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.Contains(args[0], "://") {
				return &statusError{125, errors.New("install URL: not built yet"), "fetch it, and install the path"}
			}
			dir, err := changedRegistry(registryDir, true)
			if err != nil {
				return err
			}
			r, err := publish.Install(args[0], dir, publish.Options{Check: loader.CheckBundle, Now: time.Now()})
			if err != nil {
				return refused(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			what := "installed"
			if r.Unchanged {
				what = "unchanged:"
			}
			text := what + " " + r.Name + " " + r.Version
			switch {
			case r.Key != "":
				text += ", signed by key " + r.Key
			case r.Unverified:
				text += ", its signature not verified: " + publish.ErrNobody.Error()
			}
			if r.Replaced != "" {
				text += ", in the place of " + r.Replaced
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n%s\nnext: sbx show %s, sbx run %s\n", text, r.Path, r.Name, r.Name)
			return err
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "put it into this registry")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func removeCommand() *cobra.Command {
	var registryDir string
	var asJSON bool
	c := &cobra.Command{Use: "remove NAME", Short: "Take a command out of a registry", Args: cobra.ExactArgs(1),
		Long: `Take a command out of a registry, by its dotted name. Runs that have begun end as
they would. The revisions that were in force stay in the state directory, for
"sbx history"; the bundle itself is gone, so keep your own copy.

The registry is the one that "sbx install" would take.`,
		Example: "  sbx remove db.backup",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := changedRegistry(registryDir, false)
			if err != nil {
				return err
			}
			r, err := publish.Remove(args[0], dir)
			if err != nil {
				return refused(err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), r)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "removed %s %s\n%s\nnext: sbx history %s\n", r.Name, r.Version, r.Path, r.Name)
			return err
		}}
	c.Flags().StringVar(&registryDir, "registry", "", "take it out of this registry")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// changedRegistry is the registry that a change is for: the one that was named,
// else the last of the list, which is the caller's own. make makes one that
// nobody named.
func changedRegistry(flag string, make bool) (string, error) {
	list := ctl.Registries(flag)
	dir, err := filepath.Abs(list[len(list)-1])
	if err != nil || !make || flag != "" || os.Getenv("SBX_REGISTRY") != "" {
		return dir, err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// refused is an error of a bundle or a registry that was found and is not
// accepted: exit status 126, but for what does not exist or was not found
// there.
func refused(err error) error {
	var none *registry.UnknownError
	switch {
	case errors.Is(err, publish.ErrBusy):
		return &statusError{125, err, "try again"}
	case errors.As(err, &none):
		return err
	}
	return refusedUnless(err, fs.ErrNotExist)
}

func refusedUnless(err, missing error) error {
	if err == nil || errors.Is(err, missing) {
		return err
	}
	return &loader.RejectedError{Err: err}
}
