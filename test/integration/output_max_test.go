package integration

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// TestOutputMax: output_max is held to the byte, wherever 1 and 2 lead: what
// is written up to it arrives in order, not one byte more does, and a run that
// writes exactly as much has not passed it.
func TestOutputMax(t *testing.T) {
	const limit = 64 << 10
	const before = "a line of the caller's log\n"
	pipes := func(*testing.T, *host) (one, two *os.File) { return nil, nil }
	logs := func(t *testing.T, h *host, name string) *os.File {
		path := h.write(t, "home/"+name, before, 0o644)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	tests := []struct {
		name string
		to   func(t *testing.T, h *host) (one, two *os.File)
	}{
		{"pipes", pipes},
		{"one file of the caller's, opened for appending, as 1 and 2", func(t *testing.T, h *host) (one, two *os.File) {
			f := logs(t, h, "log")
			return f, f
		}},
		{"two files opened for appending", func(t *testing.T, h *host) (one, two *os.File) {
			return logs(t, h, "log-1"), logs(t, h, "log-2")
		}},
		{"one file opened twice", func(t *testing.T, h *host) (one, two *os.File) {
			f := logs(t, h, "log")
			again, err := os.OpenFile(f.Name(), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { again.Close() })
			return f, again
		}},
	}
	pours := []struct {
		name   string
		words  []string
		status int
	}{
		{"exactly, by 1", []string{"1:65536"}, 0},
		{"exactly, by 2", []string{"2:65536"}, 0},
		{"exactly, by both", []string{"1:30000", "2:30000", "1:5536"}, 0},
		{"one more, by 1", []string{"1:65537"}, 153},
		{"one more, by 2", []string{"2:65537"}, 153},
		{"one more, by both", []string{"1:30000", "2:30000", "1:5537"}, 153},
		{"far more, by both", []string{"1:100000", "2:100000", "1:1000000"}, 153},
	}
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		p := h.policy(t, "narrow", "limits: {output_max: 64K}\n")
		for _, tt := range tests {
			for _, pour := range pours {
				t.Run(tt.name+"/"+pour.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(context.Background(), patience())
					defer cancel()
					cmd, file := h.command(ctx, h.act(p, append([]string{"pour"}, pour.words...)...))
					var one, two strings.Builder
					cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &one, &two, slow(10*time.Second)
					f1, f2 := tt.to(t, h)
					if f1 != nil {
						cmd.Stdout, cmd.Stderr = f1, f2
					}
					cmd.Run()
					report, err := readReport(file)
					if err != nil || report == nil {
						t.Fatalf("report: %v", err)
					}
					outcome := map[int]string{0: "ok", 153: "output-limit"}[pour.status]
					if status := statusOf(cmd.ProcessState); status != pour.status || report.Outcome != outcome {
						t.Errorf("status %d, outcome %q, want %d %q", status, report.Outcome, pour.status, outcome)
					}
					// What the run wrote, without sbx's own words behind it.
					streams := []string{one.String(), two.String()}
					if f1 != nil {
						streams = []string{content(t, f1)}
						if f2.Name() != f1.Name() {
							streams = append(streams, content(t, f2))
						}
					}
					got := 0
					for i, s := range streams {
						s, words, said := strings.Cut(s, "sbx: ")
						if said && pour.status == 0 {
							t.Errorf("sbx says %q", words)
						}
						if f1 != nil {
							rest, kept := strings.CutPrefix(s, before)
							if s = rest; !kept {
								t.Fatalf("the caller's file begins with %.60q", s)
							}
						}
						got += len(s)
						want := poured(pour.words, i+1, len(streams) == 1)
						if !strings.HasPrefix(want, s) {
							t.Errorf("stream %d: %d bytes that are not the beginning of the %d that were written", i+1, len(s), len(want))
						}
					}
					if got != limit {
						t.Errorf("%d bytes arrived, want %d", got, limit)
					}
				})
			}
		}
	})
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// poured is what the act "pour" writes to one descriptor, or to both.
func poured(words []string, fd int, both bool) string {
	var b strings.Builder
	for i, w := range words {
		if to, n := pourOf(w); both || to == fd {
			b.WriteString(pattern(i, n))
		}
	}
	return b.String()
}
