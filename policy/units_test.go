package policy_test

import (
	"errors"
	"math"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/policy"
)

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want policy.Bytes
		err  error
	}{
		{"0", 0, nil}, {"1", 1, nil}, {"4K", 4096, nil}, {"512M", 512 << 20, nil},
		{"3G", 3 << 30, nil}, {"1T", 1 << 40, nil}, {"18446744073709551615", math.MaxUint64, nil},
		{"16777215T", 16777215 << 40, nil},
		{"", 0, policy.ErrEmpty}, {"K", 0, policy.ErrSyntax}, {"-1", 0, policy.ErrSyntax},
		{"+1", 0, policy.ErrSyntax}, {"1.5G", 0, policy.ErrSyntax}, {"1k", 0, policy.ErrSyntax},
		{"1KB", 0, policy.ErrSyntax}, {" 1", 0, policy.ErrSyntax}, {"01", 0, policy.ErrSyntax},
		{"1_000", 0, policy.ErrSyntax}, {"max", 0, policy.ErrSyntax},
		{"18446744073709551616", 0, policy.ErrOverflow}, {"16777216T", 0, policy.ErrOverflow},
		{"18446744073709551615K", 0, policy.ErrOverflow},
	} {
		got, err := policy.ParseBytes(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
		err  error
	}{
		{"1ms", time.Millisecond, nil}, {"60s", time.Minute, nil}, {"1h30m", 90 * time.Minute, nil},
		{"24h", 24 * time.Hour, nil}, {"1.5s", 1500 * time.Millisecond, nil},
		{"", 0, policy.ErrEmpty}, {"30", 0, policy.ErrSyntax}, {"0", 0, policy.ErrRange}, {"-1s", 0, policy.ErrSyntax},
		{"+1s", 0, policy.ErrSyntax}, {"1d", 0, policy.ErrSyntax}, {"0s", 0, policy.ErrRange},
		{"999us", 0, policy.ErrRange}, {"9999999h", 0, policy.ErrOverflow},
	} {
		got, err := policy.ParseDuration(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
	for in, want := range map[time.Duration]string{
		time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 3601 * time.Second: "1h0m1s",
		10 * time.Minute: "10m", time.Hour + 10*time.Minute: "1h10m", 100 * time.Hour: "100h",
	} {
		if got := policy.FormatDuration(in); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestParseCPU(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want policy.CPU
		err  error
	}{
		{"50%", policy.CPU{Quota: 50_000, Period: 100_000}, nil},
		{"12.5%", policy.CPU{Quota: 12_500, Period: 100_000}, nil},
		{"1.001%", policy.CPU{Quota: 1_001, Period: 100_000}, nil},
		{"200%", policy.CPU{Quota: 200_000, Period: 100_000}, nil},
		{"1000 1000", policy.CPU{Quota: 1000, Period: 1000}, nil},
		{"", policy.CPU{}, policy.ErrEmpty}, {"50", policy.CPU{}, policy.ErrSyntax},
		{"%", policy.CPU{}, policy.ErrSyntax}, {"5.%", policy.CPU{}, policy.ErrSyntax},
		{"1.0001%", policy.CPU{}, policy.ErrSyntax}, {"-5%", policy.CPU{}, policy.ErrSyntax},
		{"1  1", policy.CPU{}, policy.ErrSyntax}, {"0%", policy.CPU{}, policy.ErrRange},
		{"0.5%", policy.CPU{}, policy.ErrRange}, {"819201%", policy.CPU{}, policy.ErrRange},
		{"5000 999", policy.CPU{}, policy.ErrRange}, {"5000 1000001", policy.CPU{}, policy.ErrRange},
		{"999 1000", policy.CPU{}, policy.ErrRange}, {"18446744073709551615 1000", policy.CPU{}, policy.ErrRange},
	} {
		got, err := policy.ParseCPU(tt.in)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseCPU(%q) = %v, %v; want %v, %v", tt.in, got, err, tt.want, tt.err)
		}
	}
}

// FuzzUnits: what parses is written as a text that parses to the same.
func FuzzUnits(f *testing.F) {
	for _, s := range []string{"0", "4K", "16777216T", "1h30m", "1.5s", "50%", "12.5%", "50000 100000", "0x1F", "-1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := policy.ParseBytes(s); err == nil {
			if again, err := policy.ParseBytes(v.String()); err != nil || again != v {
				t.Errorf("size %q: %q reads back as %d, %v", s, v, again, err)
			}
		}
		if v, err := policy.ParseDuration(s); err == nil {
			if again, err := policy.ParseDuration(policy.FormatDuration(v)); err != nil || again != v || v <= 0 {
				t.Errorf("duration %q: %q reads back as %d, %v", s, policy.FormatDuration(v), again, err)
			}
		}
		if v, err := policy.ParseCPU(s); err == nil {
			if again, err := policy.ParseCPU(v.String()); err != nil || again != v || v.Period == 0 || v.Quota == 0 {
				t.Errorf("cpu %q: %q reads back as %v, %v", s, v, again, err)
			}
		}
		if v, err := policy.ParseNumber(s); err == nil && v == 0 && len(s) > 18 {
			t.Errorf("number %q is 0", s)
		}
	})
}

func TestNearest(t *testing.T) {
	names := []string{"allow", "deny", "errno", "rules", "default"}
	for in, want := range map[string]string{
		"alow": "allow", "allwo": "allow", "erno": "errno", "denny": "deny", "rule": "rules",
		"zzz": "", "": "", "defualt": "default", "allowances": "",
	} {
		if got := policy.Nearest(in, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestTables holds the tables to what canonical text and merging rely on.
func TestTables(t *testing.T) {
	if n, ok := policy.Capability("CAP_CHECKPOINT_RESTORE"); !ok || n != 40 {
		t.Errorf("CAP_CHECKPOINT_RESTORE = %d, %v; want 40 (linux/capability.h)", n, ok)
	}
	if n, ok := policy.RlimitResource("rttime"); !ok || n != 15 {
		t.Errorf("rttime = %d, %v; want 15 (asm-generic/resource.h)", n, ok)
	}
	if n, ok := policy.Family("vsock"); !ok || n != 40 {
		t.Errorf("vsock = %d, %v; want 40 (linux/socket.h)", n, ok)
	}
	numbers := map[syscall.Errno]bool{}
	for _, name := range policy.ErrnoNames() {
		n, _ := policy.Errno(name)
		numbers[syscall.Errno(n)] = true
	}
	for e := syscall.Errno(1); e <= unix.EHWPOISON; e++ {
		if unix.ErrnoName(e) != "" && !numbers[e] {
			t.Errorf("no name is errno %d (errno(3))", e)
		}
	}
	for name, want := range map[string]syscall.Errno{
		"EPERM": syscall.EPERM, "ENOSYS": syscall.ENOSYS, "EACCES": syscall.EACCES, "EAFNOSUPPORT": syscall.EAFNOSUPPORT,
		"EOPNOTSUPP": syscall.EOPNOTSUPP, "ENOTSUP": syscall.ENOTSUP, "EWOULDBLOCK": syscall.EWOULDBLOCK, "EDQUOT": syscall.EDQUOT,
		"ECONNREFUSED": syscall.ECONNREFUSED, "EOVERFLOW": syscall.EOVERFLOW, "ENOBUFS": syscall.ENOBUFS, "ELOOP": syscall.ELOOP,
		"ENETUNREACH": syscall.ENETUNREACH, "ETIMEDOUT": syscall.ETIMEDOUT, "EUSERS": syscall.EUSERS, "ECANCELED": syscall.ECANCELED,
	} {
		if n, ok := policy.Errno(name); !ok || syscall.Errno(n) != want {
			t.Errorf("%s = %d, %v; want %d", name, n, ok, want)
		}
	}
	layers := policy.Layers()
	for i := 1; i < len(layers); i++ {
		if layers[i-1] >= layers[i] {
			t.Errorf("layers %q and %q are not in order", layers[i-1], layers[i])
		}
	}
}
