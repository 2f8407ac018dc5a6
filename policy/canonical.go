package policy

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Canonical is the one text of a policy: YAML with keys in a fixed order,
// lists sorted where their order means nothing, values in their shortest
// spelling, nothing that is not stated. Parsing it gives p again, positions
// and the order of such lists aside, and the canonical text of that is the
// same bytes.
func Canonical(p Policy) []byte {
	var w writer
	w.flow(0, "extends", p.Extends)
	w.filesystem(p.Filesystem)
	w.syscalls(p.Syscalls)
	w.network(p.Network)
	w.flow(0, "sockets", sorted(p.Sockets))
	w.limits(p.Limits)
	w.flow(0, "devices", sorted(p.Devices))
	w.env(p.Env)
	w.text(0, "user", p.User)
	w.flow(0, "capabilities", sorted(p.Capabilities))
	if p.DenyWriteExecute != nil {
		w.line(0, "memory_deny_write_execute", strconv.FormatBool(*p.DenyWriteExecute))
	}
	w.flow(0, "require", sorted(p.Require))
	if w.Len() == 0 {
		return []byte("{}\n")
	}
	return w.Bytes()
}

// writer writes block style, two spaces for each level.
type writer struct{ bytes.Buffer }

func (w *writer) line(depth int, key, value string) {
	w.WriteString(strings.Repeat("  ", depth))
	w.WriteString(key)
	w.WriteByte(':')
	if value != "" {
		w.WriteByte(' ')
		w.WriteString(value)
	}
	w.WriteByte('\n')
}

func (w *writer) text(depth int, key, value string) {
	if value != "" {
		w.line(depth, key, Plain(value))
	}
}

// flow writes a list in one line; nil is left out.
func (w *writer) flow(depth int, key string, values []string) {
	if values == nil {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = Plain(v)
	}
	w.line(depth, key, "["+strings.Join(quoted, ", ")+"]")
}

// section writes "key:" before what body writes, and nothing when body
// writes nothing.
func (w *writer) section(depth int, key string, body func(*writer)) {
	var inner writer
	body(&inner)
	if inner.Len() == 0 {
		return
	}
	w.line(depth, key, "")
	w.Write(inner.Bytes())
}

// block writes a list with one item for each line, already spelt.
func (w *writer) block(depth int, key string, items []string) {
	if items == nil {
		return
	}
	if len(items) == 0 {
		w.line(depth, key, "[]")
		return
	}
	w.line(depth, key, "")
	for _, item := range items {
		w.WriteString(strings.Repeat("  ", depth+1))
		w.WriteString("- ")
		w.WriteString(item)
		w.WriteByte('\n')
	}
}

func (w *writer) filesystem(f Filesystem) {
	w.section(0, "filesystem", func(w *writer) {
		w.text(1, "proc", f.Proc)
		w.text(1, "view", f.View)
		w.block(1, "read", pathItems(f.Read))
		w.block(1, "write", pathItems(f.Write))
		w.block(1, "exec", pathItems(f.Exec))
		var tmpfs []string
		if f.Tmpfs != nil {
			tmpfs = []string{}
		}
		for _, t := range f.Tmpfs {
			tmpfs = append(tmpfs, fmt.Sprintf("{path: %s, size: %s, files: %d}", Plain(t.Path), t.Size, t.Files))
		}
		sort.Strings(tmpfs)
		w.block(1, "tmpfs", tmpfs)
		w.block(1, "mask", pathItems(f.Mask))
	})
}

// pathItems spells path rules, sorted by path.
func pathItems(rules []PathRule) []string {
	if rules == nil {
		return nil
	}
	rules = append([]PathRule{}, rules...)
	sort.Slice(rules, func(i, j int) bool { return rules[i].Path < rules[j].Path })
	out := []string{}
	for _, r := range rules {
		p := r.Path
		if r.Optional {
			p = "-" + p
		}
		if r.AsOwner {
			out = append(out, "{path: "+Plain(p)+", as: owner}")
		} else {
			out = append(out, Plain(p))
		}
	}
	return out
}

// nameTexts returns the texts of names, sorted.
func nameTexts(names []Name) []string {
	if names == nil {
		return nil
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n.Text
	}
	sort.Strings(out)
	return out
}

func (w *writer) syscalls(s Syscalls) {
	w.section(0, "syscalls", func(w *writer) {
		w.flow(1, "allow", nameTexts(s.Allow))
		w.flow(1, "deny", nameTexts(s.Deny))
		if s.Errno != nil && len(s.Errno) == 0 {
			w.line(1, "errno", "{}")
		}
		w.section(1, "errno", func(w *writer) {
			for _, errno := range sortedKeys(s.Errno) {
				w.flow(2, errno, nameTexts(s.Errno[errno]))
			}
		})
		var rules []string
		if s.Rules != nil {
			rules = []string{}
		}
		for _, r := range s.Rules {
			rules = append(rules, ruleItem(r))
		}
		w.block(1, "rules", rules)
		w.text(1, "default", s.Default)
	})
}

func ruleItem(r Rule) string {
	var names writer
	names.flow(0, "names", nameTexts(r.Names))
	args := make([]string, len(r.Args))
	for i, a := range r.Args {
		args[i] = fmt.Sprintf("{index: %d, op: %s, value: %#x", a.Index, a.Op, a.Value)
		if a.Op == "masked_eq" {
			args[i] += fmt.Sprintf(", mask: %#x", a.Mask)
		}
		args[i] += "}"
	}
	out := "{" + strings.TrimSpace(names.String()) + ", args: [" + strings.Join(args, ", ") + "], action: " + r.Action
	if r.Errno != "" {
		out += ", errno: " + r.Errno
	}
	return out + "}"
}

func (w *writer) network(n Network) {
	w.section(0, "network", func(w *writer) {
		w.text(1, "mode", n.Mode)
		var items []string
		if n.Allow != nil {
			items = []string{}
		}
		for _, e := range n.Allow {
			items = append(items, endpointKey(e))
		}
		sort.Strings(items)
		w.block(1, "allow", items)
	})
}

// endpointKey spells an egress rule, position aside.
func endpointKey(e Endpoint) string {
	var out []string
	if e.Host != "" {
		out = append(out, "host: "+Plain(e.Host))
	}
	if e.CIDR != "" {
		out = append(out, "cidr: "+Plain(e.CIDR))
	}
	if e.Port != 0 {
		out = append(out, "port: "+strconv.Itoa(int(e.Port)))
	}
	if e.UDP {
		out = append(out, "udp: true")
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func (w *writer) limits(l Limits) {
	w.section(0, "limits", func(w *writer) {
		bytesLimit := func(key string, l *Limit[Bytes]) {
			if l != nil {
				w.limit(key, l.Optional, l.Value.String())
			}
		}
		countLimit := func(key string, l *Limit[uint64]) {
			if l != nil {
				w.limit(key, l.Optional, strconv.FormatUint(l.Value, 10))
			}
		}
		bytesLimit("memory_max", l.MemoryMax)
		bytesLimit("memory_swap_max", l.MemorySwapMax)
		countLimit("pids_max", l.PidsMax)
		if l.CPUMax != nil {
			w.limit("cpu_max", l.CPUMax.Optional, Plain(l.CPUMax.Value.String()))
		}
		countLimit("cpu_weight", l.CPUWeight)
		if l.IOMax != nil {
			lines := make([]string, len(l.IOMax.Value))
			for i, line := range sorted(l.IOMax.Value) {
				lines[i] = strconv.Quote(line)
			}
			w.limit("io_max", l.IOMax.Optional, "["+strings.Join(lines, ", ")+"]")
		}
		if l.Timeout != nil {
			w.limit("timeout", l.Timeout.Optional, FormatDuration(l.Timeout.Value))
		}
		bytesLimit("output_max", l.OutputMax)
		for _, name := range sortedKeys(l.Rlimits) {
			r := l.Rlimits[name]
			text := strconv.FormatUint(r.Value, 10)
			if rlimits[name].bytes {
				text = Bytes(r.Value).String()
			}
			w.limit("rlimit_"+name, r.Optional, text)
		}
	})
}

func (w *writer) limit(key string, optional bool, value string) {
	if optional {
		key = "-" + key
	}
	w.line(1, key, value)
}

func (w *writer) env(e Env) {
	w.section(0, "env", func(w *writer) {
		w.flow(1, "pass", sorted(e.Pass))
		if e.Set != nil && len(e.Set) == 0 {
			w.line(1, "set", "{}")
		}
		w.section(1, "set", func(w *writer) {
			for _, name := range sortedKeys(e.Set) {
				w.line(2, Plain(name), Quote(e.Set[name]))
			}
		})
	})
}

func sorted(list []string) []string {
	if list == nil {
		return nil
	}
	out := append([]string{}, list...)
	sort.Strings(out)
	return out
}

// Plain spells a text as YAML: without quotes where that is safe in block and
// flow style and read as text everywhere, else as [Quote] does.
func Plain(s string) string {
	if s == "" || len(s) > 1000 {
		return Quote(s)
	}
	letter := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '/', c == '_':
			letter = letter || i == 0
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == '+' || c == '%'):
		default:
			return Quote(s)
		}
	}
	if !letter {
		return Quote(s)
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return Quote(s)
	}
	return s
}

// Quote spells a text as a double-quoted YAML scalar in one line of ASCII.
// Bytes that are not UTF-8 become U+FFFD: no parsed document has them.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= 0x20 && r < 0x7f:
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
