package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/ctl"
)

func killCommand() *cobra.Command {
	var a asking
	c := &cobra.Command{Use: "kill RUN...", Short: "End runs; exit 1 when one is not going", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, runs []string) error {
			asJSON, err := a.wantJSON()
			if err != nil {
				return err
			}
			d, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			killed := []admin.Killed{}
			var bad error
			for _, run := range runs {
				err := d.Kill(cmd.Context(), run)
				var answer *admin.AnswerError
				switch {
				case errors.As(err, &answer) && answer.Status == 404:
					ctl.Say(quiet, err.Error(), answer.Hint)
					bad = &statusError{1, nil, ""}
				case err != nil:
					return refusedByDaemon(err)
				default:
					killed = append(killed, admin.Killed{Run: run})
				}
			}
			if asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), killed), bad)
			}
			return bad
		}}
	a.flags(c)
	return c
}

func reloadCommand() *cobra.Command {
	var a asking
	var wait bool
	var timeout time.Duration
	var generation uint64
	c := &cobra.Command{Use: "reload", Short: "Load what changed in the registry; --wait: 0 loaded, 1 rejected, 124 not over in time", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := a.wantJSON()
			if err != nil {
				return err
			}
			if timeout <= 0 {
				return &statusError{125, errors.New("--timeout: want more than 0"), "--timeout 1m"}
			}
			var expected *uint64
			if cmd.Flags().Changed("expect") {
				expected = &generation
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			d, err := a.dial(ctx)
			if err == nil {
				defer d.Close()
				err = reload(ctx, cmd.OutOrStdout(), d, wait, asJSON, expected)
			}
			if errors.Is(err, context.DeadlineExceeded) {
				return &statusError{124, fmt.Errorf("the reload is not over after %v", timeout), "it goes on; sbx status shows how it ends"}
			}
			return err
		}}
	a.flags(c)
	c.Flags().BoolVar(&wait, "wait", false, "wait for its end")
	c.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "wait no longer than this")
	c.Flags().Uint64Var(&generation, "expect", 0, "only when this generation is in force")
	return c
}

func reload(ctx context.Context, w io.Writer, d *admin.Client, wait, asJSON bool, expected *uint64) error {
	res, err := d.Reload(ctx, wait, expected)
	if err != nil {
		return refusedByDaemon(err)
	}
	if asJSON {
		if err := printJSON(w, res); err != nil {
			return err
		}
	}
	switch {
	case !wait || res.Loaded:
		if wait && !asJSON {
			fmt.Fprintf(w, "loaded: generation %d, %d commands changed\n", res.Generation, len(res.Changed))
		}
		return nil
	case asJSON:
		return &statusError{1, nil, ""}
	case res.Error != "":
		return &statusError{1, fmt.Errorf("nothing was loaded: %s", res.Error), "generation " + strconv.FormatUint(res.Generation, 10) + " stays in force"}
	}
	for _, r := range res.Rejected {
		ctl.Say(quiet, r.Command+": rejected: "+r.Reason)
	}
	return &statusError{1, fmt.Errorf("%d commands rejected", len(res.Rejected)), "each stays as it was; sbx status NAME says more"}
}

func eventsCommand() *cobra.Command {
	var a asking
	var follow bool
	var since string
	c := &cobra.Command{Use: "events", Short: "Show what happened lately; -f: and what happens", Args: cobra.NoArgs,
		Long: `Shows the events that the daemon still holds, or those after --since; with -f
it goes on until it is ended. JSON is one object a line, and its id is what
--since takes. A gap means that events were missed: see sbx status.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			asJSON, err := a.wantJSON()
			if err != nil {
				return err
			}
			d, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer d.Close()
			w := cmd.OutOrStdout()
			err = d.Events(cmd.Context(), since, follow, func(e admin.Event, line []byte) error {
				if asJSON {
					_, err := w.Write(append(line, '\n'))
					return err
				}
				_, err := fmt.Fprintln(w, eventLine(e))
				return err
			})
			if err == nil && follow {
				return &statusError{125, errors.New("the daemon has ended"), ""}
			}
			return refusedByDaemon(err)
		}}
	a.flags(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	c.Flags().StringVar(&since, "since", "0", "the id of the last event seen")
	return c
}

// eventLine is one event for people.
func eventLine(e admin.Event) string {
	words := []string{e.Time.Local().Format("2006-01-02 15:04:05.000"), string(e.Kind)}
	add := func(format string, v string) {
		if v != "" {
			words = append(words, fmt.Sprintf(format, clean(v)))
		}
	}
	add("%s", e.Command)
	add("%s", e.Version)
	add("%s", e.Outcome)
	if e.ExitCode != nil {
		add("status %s", strconv.Itoa(*e.ExitCode))
	}
	if e.Seconds > 0 {
		add("%s", time.Duration(e.Seconds*float64(time.Second)).Round(100*time.Microsecond).String())
	}
	for _, v := range e.Violations {
		add("refused %s", v.Syscall)
		add("by %s", v.Comm)
		add("path %s", v.Path)
		add("allow with: %s", v.AllowWith)
	}
	if e.UID != nil {
		words = append(words, "user "+userName(*e.UID))
	}
	add("run %s", e.Run)
	if e.Generation > 0 && e.Run == "" {
		add("generation %s", strconv.FormatUint(e.Generation, 10))
	}
	if r := e.Reload; r != nil {
		switch {
		case r.Error != "":
			add("nothing was loaded: %s", r.Error)
		case !r.Loaded:
			add("%s rejected", strconv.Itoa(len(r.Rejected)))
		default:
			add("%s changed", strconv.Itoa(len(r.Changed)))
		}
	}
	if e.Missed > 0 {
		add("%s missed", strconv.FormatUint(e.Missed, 10))
	}
	add("(%s)", e.Reason)
	return strings.Join(words, "  ")
}
