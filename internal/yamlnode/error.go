package yamlnode

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/sbx-project/sbx/policy"
)

// Error is a refusal of a document or of what a decoder found in it.
type Error struct {
	// File is the name that the document was given.
	File string
	// Pos is where; zero when the fault has no place.
	Pos policy.Pos
	// Msg says what is wrong.
	Msg string

	hint    string
	excerpt string
	err     error
}

// Error returns "FILE:LINE:COL: MESSAGE".
func (e *Error) Error() string {
	if e.Pos == (policy.Pos{}) {
		return e.File + ": " + e.Msg
	}
	return e.File + ":" + e.Pos.String() + ": " + e.Msg
}

// Hint says what to write instead; it may be empty.
func (e *Error) Hint() string { return e.hint }

// Excerpt is the line of the source and, below it, a caret at the column;
// two lines without a newline at the end, or empty when there is no place.
// Long lines are cut around the column; nothing in it moves a terminal.
func (e *Error) Excerpt() string { return e.excerpt }

// Unwrap returns the *policy.Error that the error was made of, or nil.
func (e *Error) Unwrap() error { return e.err }

// Locate turns a *policy.Error into an *Error with file and excerpt. Any
// other error is returned as it is.
func Locate(file string, src []byte, err error) error {
	var pe *policy.Error
	if !errors.As(err, &pe) {
		return err
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	return &Error{
		File: file, Pos: pe.Pos, Msg: pe.Msg,
		hint: pe.Hint, excerpt: excerpt(src, pe.Pos), err: pe,
	}
}

// Format is the whole presentation of an error of the document: message,
// excerpt, hint, each on its own line.
func Format(err error, file string, src []byte) string {
	var e *Error
	if err = Locate(file, src, err); !errors.As(err, &e) {
		return err.Error()
	}
	out := e.Error()
	if e.excerpt != "" {
		out += "\n" + e.excerpt
	}
	if e.hint != "" {
		out += "\nhint: " + e.hint
	}
	return out
}

// excerptWidth is how many runes of a line are shown: a terminal's width.
const excerptWidth = 72

func excerpt(src []byte, pos policy.Pos) string {
	if pos.Line < 1 || pos.Col < 1 {
		return ""
	}
	text := string(src)
	for i := 1; i < pos.Line; i++ {
		_, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return ""
		}
		text = rest
	}
	text, _, _ = strings.Cut(text, "\n")
	if !utf8.ValidString(text) {
		return ""
	}
	line := []rune(text)
	col := min(pos.Col-1, len(line))
	start := 0
	if col > excerptWidth-8 {
		start = col - excerptWidth/2
	}
	line = line[start:min(len(line), start+excerptWidth)]
	for i, r := range line {
		if isControl(r) {
			line[i] = ' '
		}
	}
	return strings.TrimRight(string(line), " ") + "\n" + strings.Repeat(" ", col-start) + "^"
}

// isControl reports characters that a document may not hold, tab and newline
// aside, and that no message shows: C0, DEL, C1, and what turns the direction
// of a line around or hides in it (Unicode 15, bidirectional controls,
// zero-width characters, byte order mark, line separators).
func isControl(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0,
		r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f, r == 0x061c, r == 0xfeff,
		r >= 0xfff9 && r <= 0xfffb, r >= 0xe0000 && r <= 0xe007f,
		r == 0xfffe, r == 0xffff:
		return true
	}
	return false
}
