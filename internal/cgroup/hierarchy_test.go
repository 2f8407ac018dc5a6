package cgroup

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountIn(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unified", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup"},
		{"hybrid, version 1 first", "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" +
			"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup/unified"},
		{"first of two", "1 2 0:1 / /a rw - cgroup2 x rw\n1 2 0:1 / /b rw - cgroup2 x rw\n", "/a"},
		{"escaped", `1 2 0:1 / /a\040b\134c rw - cgroup2 x rw`, `/a b\c`},
		{"name in a path only", "1 2 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n", ""},
		{"no separator", "1 2 0:1 / /a rw cgroup2 cgroup2 rw\n", ""},
		{"too few fields", "1 2 - cgroup2 x rw\n", ""},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := mountIn(tt.text); got != tt.want {
				t.Errorf("mountIn = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOwnIn(t *testing.T) {
	tests := []struct {
		name, text, want string
		err              error
	}{
		{"root", "9:name=systemd:/\n0::/\n", "/", nil},
		{"unit", "0::/system.slice/sbx.service\n", "/system.slice/sbx.service", nil},
		{"outside the namespace", "0::/../other\n", "", ErrNotDelegated},
		{"removed", "0::/gone (deleted)\n", "", ErrNotDelegated},
		{"version 1 only", "4:memory:/x\n", "", ErrNoHierarchy},
		{"empty", "", "", ErrNoHierarchy},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ownIn(tt.text)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("ownIn = %q, %v, want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestValues(t *testing.T) {
	const events = "low 0\noom 2\noom_kill 6\noom_group_kill 1\n"
	for key, want := range map[string]uint64{"oom": 2, "oom_kill": 6, "oom_group_kill": 1, "high": 0, "": 0} {
		if got := value(events, key); got != want {
			t.Errorf("value(%q) = %d, want %d", key, got, want)
		}
	}
	read, write := ioBytes("254:0 rbytes=10 wbytes=3 rios=1\n7:0 rbytes=5 wbytes=4\n")
	if read != 15 || write != 7 {
		t.Errorf("ioBytes = %d, %d, want 15, 7", read, write)
	}
	for text, want := range map[string]uint64{"12\n": 12, "max\n": 0, "": 0, "-1": 0} {
		if got := number(text); got != want {
			t.Errorf("number(%q) = %d, want %d", text, got, want)
		}
	}
}

func TestErrorsSayWhy(t *testing.T) {
	tests := []struct {
		name string
		err  error
		is   error
		want string
	}{
		{"operation", wrap("open", "/x", unix.EACCES), unix.EACCES, `open "/x": permission denied`},
		{"not delegated", &NotDelegatedError{Path: "/x", Err: unix.EROFS}, ErrNotDelegated,
			`make a cgroup in "/x": read-only file system: no cgroup is delegated to the caller`},
		{"not offered", &ControllerError{Controller: "memory", Path: "/x", Err: wrap("write", "f", unix.ENOENT)}, ErrNoController,
			`enable controller memory in "/x": not offered there (in use by cgroup v1, switched off, or not delegated)`},
		{"occupied", &ControllerError{Controller: "pids", Path: "/x", Err: unix.EBUSY}, ErrNoController,
			`enable controller pids in "/x": the group has other processes of its own`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want || !errors.Is(tt.err, tt.is) {
				t.Errorf("got %q (is %v: %v), want %q", got, tt.is, errors.Is(tt.err, tt.is), tt.want)
			}
		})
	}
	if wrap("open", "/x", nil) != nil {
		t.Error("wrap of nil is not nil")
	}
}
