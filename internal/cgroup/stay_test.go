package cgroup

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestStay: a process in a group that a service manager has marked as delegated
// stays in it; without the mark, or beside others, nothing changes.
func TestStay(t *testing.T) {
	testenv.Root(t)
	usual := testenv.CgroupMount() + "/" + placeName
	for _, tt := range []struct {
		name, mark string
		bystander  bool
		want       string // GROUP is the one that the process starts in
	}{
		{"delegated, as of old", "trusted.delegate", false, "<nil> GROUP/sbx GROUP/sbx-supervisor again GROUP/sbx GROUP/sbx-supervisor"},
		{"delegated", "user.delegate", false, "<nil> GROUP/sbx GROUP/sbx-supervisor again GROUP/sbx GROUP/sbx-supervisor"},
		{"not delegated", "", false, "<nil> " + usual + " GROUP again " + usual + " GROUP"},
		{"another mark", "user.other", false, "<nil> " + usual + " GROUP again " + usual + " GROUP"},
		{"beside another", "trusted.delegate", true, `stay in cgroup "GROUP": device or resource busy ` + usual + " GROUP again " + usual + " GROUP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := place(t)
			group := create(t, p, "service")
			if tt.mark != "" {
				if err := unix.Setxattr(group.Path(), tt.mark, []byte("1"), 0); err != nil {
					t.Fatalf("%s: %v", tt.mark, err)
				}
			}
			if tt.bystander {
				start(t, group, "wait").ready(t)
			}
			want := strings.ReplaceAll(tt.want, "GROUP", group.Path())
			if got := start(t, group, "stay").line(t); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if err := group.Kill(); err != nil {
				t.Error(err)
			}
			if err := group.Delete(patience); err != nil {
				t.Error(err)
			}
		})
	}
}

// stay is the child of TestStay. The second time is that of a program that
// has executed itself anew.
func stay() error {
	var said []string
	for range 2 {
		err := Stay()
		p, openErr := Open("")
		if openErr != nil {
			return openErr
		}
		defer p.Close()
		own, ownErr := ownGroup()
		if ownErr != nil {
			return ownErr
		}
		said = append(said, fmt.Sprint(p.Path(), " ", testenv.CgroupMount(), own))
		if len(said) == 1 {
			said[0] = fmt.Sprint(err, " ", said[0])
			home.Store(nil)
		}
	}
	_, err := fmt.Fprintln(os.Stdout, strings.Join(said, " again "))
	return err
}
