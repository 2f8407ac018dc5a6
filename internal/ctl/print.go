package ctl

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Say prints sbx's words on stderr: one line, then hints unless quiet. Further
// lines of a hint are indented, so that every line which begins with "sbx: "
// or "hint: " is sbx's own. It writes once, so that lines of parallel runs do
// not mix. Control characters of names and paths are made visible, since they
// may come from a bundle or a workload and the reader may be a terminal.
func Say(quiet bool, msg string, hints ...string) { writeAll(2, said(quiet, msg, hints)) }

func said(quiet bool, msg string, hints []string) string {
	out := "sbx: " + visible(msg) + "\n"
	if quiet {
		return out
	}
	for _, h := range hints {
		before := "hint: "
		for line := range strings.SplitSeq(strings.TrimRight(h, "\n"), "\n") {
			if h != "" {
				out += before + visible(line) + "\n"
			}
			before = "      "
		}
	}
	return out
}

func writeAll(fd int, s string) error {
	for len(s) > 0 {
		n, err := unix.Write(fd, []byte(s))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		s = s[n:]
	}
	return nil
}

// visible writes what does not print, line ends included, as \xNN or \uNNNN.
func visible(s string) string {
	var b strings.Builder
	clean := 0 // up to here b has s
	for i, r := range s {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			r, size = rune(s[i]), 1 // no UTF-8: one byte
		} else if strconv.IsPrint(r) {
			continue
		}
		b.WriteString(s[clean:i])
		clean = i + size
		digits := strconv.FormatInt(int64(r), 16)
		if r < 0x100 {
			b.WriteString(`\x` + "00"[min(len(digits), 2):] + digits)
		} else {
			b.WriteString(`\u` + "0000"[min(len(digits), 4):] + digits)
		}
	}
	if clean == 0 {
		return s
	}
	return b.String() + s[clean:]
}
