package runner

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// object writes one JSON object. encoding/json would add more to the start
// of every invocation than the whole report costs to write.
type object struct {
	b     []byte
	comma bool
}

func (w *object) sep() {
	if len(w.b) == 0 {
		w.b = append(w.b, '{')
	}
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
}

func (w *object) key(k string) {
	w.sep()
	w.text(k)
	w.b = append(w.b, ':')
}

func (w *object) str(k, v string)       { w.key(k); w.text(v) }
func (w *object) num(k string, v int64) { w.key(k); w.b = strconv.AppendInt(w.b, v, 10) }
func (w *object) bool(k string, v bool) { w.key(k); w.b = strconv.AppendBool(w.b, v) }
func (w *object) open()                 { w.b, w.comma = append(w.b, '{'), false }
func (w *object) close()                { w.b, w.comma = append(w.b, '}'), true }
func (w *object) line() []byte          { return append(w.b, '}', '\n') }
func (w *object) seconds(k string, d time.Duration) {
	w.key(k)
	w.b = strconv.AppendFloat(w.b, d.Seconds(), 'f', 6, 64)
}

// list writes n elements; each writes itself.
func (w *object) list(n int, element func(i int)) {
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		element(i)
	}
	w.b, w.comma = append(w.b, ']'), true
}

// text writes a string by RFC 8259: quote, backslash and control characters
// escaped, what is not UTF-8 replaced.
func (w *object) text(s string) {
	const hex = "0123456789abcdef"
	w.b = append(w.b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b = append(w.b, '\\', byte(r))
		case r < 0x20 || r == 0x7f:
			w.b = append(w.b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			w.b = utf8.AppendRune(w.b, r)
		}
	}
	w.b = append(w.b, '"')
}

// ChildLine is the first line of the result stream.
func ChildLine(pid int) []byte {
	w := object{}
	w.num("child-pid", int64(pid))
	return w.line()
}
