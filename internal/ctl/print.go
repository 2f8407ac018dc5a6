package ctl

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Say prints sbx's words on stderr: one line, then hints unless quiet. It
// writes once, so that lines of parallel runs do not mix. Control characters
// of names and paths are made visible, since they may come from a bundle or
// a workload and the reader may be a terminal.
func Say(quiet bool, msg string, hints ...string) {
	out := "sbx: " + visible(msg) + "\n"
	if !quiet {
		for _, h := range hints {
			if h != "" {
				out += "hint: " + visible(h) + "\n"
			}
		}
	}
	writeAll(2, out)
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

// visible writes control characters as \xNN.
func visible(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= 0x20 && s[i] != 0x7f || s[i] == '\n'
	}
	if clean && !strings.ContainsRune(s, 0x9b) {
		return s
	}
	const hex = "0123456789abcdef"
	var b strings.Builder
	for _, r := range s {
		if r >= 0x20 && r < 0x7f || r > 0x9f || r == '\n' {
			b.WriteRune(r)
			continue
		}
		b.WriteString(`\x`)
		b.WriteByte(hex[r>>4&15])
		b.WriteByte(hex[r&15])
	}
	return b.String()
}
