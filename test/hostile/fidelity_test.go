package hostile_test

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArguments: every argument arrives byte for byte, and the streams too:
// line 33.
func TestArguments(t *testing.T) {
	many := make([]string, 5000)
	for i := range many {
		many[i] = fmt.Sprintf("argument-%d", i)
	}
	every := make([]byte, 0, 255)
	for b := 1; b < 256; b++ {
		every = append(every, byte(b))
	}
	tests := []struct {
		name string
		args []string
	}{
		{"none", nil},
		{"empty", []string{""}},
		{"empties", []string{"", "", "a", ""}},
		{"newline", []string{"a\nb", "\n", "\r\n", "\t"}},
		{"dashes", []string{"--", "-", "--help", "-h", "--policy", "--version", "--", "-q"}},
		{"quotes", []string{`"`, `'`, "`", `\`, `$HOME`, `$(id)`, "a b", "*", "{{cwd}}", "{{bundle}}"}},
		{"invalid UTF-8", []string{"\xff\xfe", "\xc3\x28", string(every)}},
		{"bytes", []string{strings.Repeat("\x01\x7f\x80", 100)}},
	}
	large := []struct {
		name string
		args []string
	}{
		{"1.2 MB in ten", slices.Repeat([]string{strings.Repeat("x", 120_000)}, 10)},
		{"5000", many},
		{"longest", []string{strings.Repeat("y", 131_000)}},
	}
	each(t, func(t *testing.T, s *suite) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r := s.run(t, "print-args", options{plain: true, args: tt.args})
				want := ""
				for _, a := range tt.args {
					want += a + "\x00"
				}
				ok := r.status == 0 && r.stdout == want
				note(s, "print-args "+tt.name, ok)
				if !ok {
					t.Errorf("status %d %.200q (-want +got):\n%s", r.status, r.stderr, cmp.Diff(want, r.stdout))
				}
			})
		}
		for _, tt := range large {
			t.Run(tt.name, func(t *testing.T) {
				r := s.run(t, "digest-args", options{plain: true, args: tt.args})
				h := fnv.New64a()
				n := 0
				for _, a := range tt.args {
					m, _ := h.Write(append([]byte(a), 0))
					n += m
				}
				want := fmt.Sprintf("%d %d %016x\n", len(tt.args), n, h.Sum64())
				note(s, "digest-args "+tt.name, r.status == 0 && r.stdout == want)
				if r.status != 0 || r.stdout != want {
					t.Errorf("status %d, got %q, want %q; %.200q", r.status, r.stdout, want, r.stderr)
				}
			})
		}
		t.Run("binary stdin and its end", func(t *testing.T) {
			text := bytes.Repeat(append(every, 0), 2000)
			r := s.run(t, "cat", options{plain: true, stdin: bytes.NewReader(text)})
			ok := r.status == 0 && r.stdout == string(text)
			note(s, "cat", ok)
			if !ok {
				t.Errorf("status %d, %d bytes of %d; %.200q", r.status, len(r.stdout), len(text), r.stderr)
			}
		})
		t.Run("environment", func(t *testing.T) {
			r := s.run(t, "print-env", options{plain: true})
			for line := range strings.Lines(r.stdout) {
				name, _, _ := strings.Cut(line, "=")
				if !slices.Contains([]string{"HOSTILE", "PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "PWD"}, name) {
					t.Errorf("%q is not the policy's", line)
				}
			}
			if !strings.Contains(r.stdout, "HOSTILE=no\n") {
				t.Errorf("env.set is missing: %q %.200q", r.stdout, r.stderr)
			}
		})
		t.Run("empty argv of sbx", func(t *testing.T) {
			out, err := exec.CommandContext(context.Background(), s.self, "+no-argv", "--", s.sbx).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "sbx: ") {
				t.Errorf("%v, %.200q, want a refusal with a message", err, out)
			}
		})
	})
}

func note(s *suite, name string, ok bool) {
	verdict := through
	if ok {
		verdict = held
	}
	record(s.name, act{line: 33, class: 'F', name: name}, verdict, "altered")
}
