package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// MaxLine bounds a line, its end included, in bytes. A record with all its
// texts and lists at their bounds, each byte escaped to six, would be longer;
// such a record loses its lists. Twice the bound would gain nothing.
const MaxLine = 256 << 10

// version is the format's. A reader refuses any other.
const version = 1

// Hash is the sha256 of a line without its end.
type Hash [sha256.Size]byte

// String is the hash in lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String wrote.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return h, fmt.Errorf("hash %q: want %d hexadecimal digits", s, 2*len(h))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return h, fmt.Errorf("hash %q: %w", s, err)
	}
	if h.String() != s {
		return h, fmt.Errorf("hash %q: want lower-case digits", s)
	}
	return h, nil
}

// header is what the chain needs of a line.
type header struct {
	seq  uint64
	prev Hash
	Record
}

// render puts a line together: the header's members first.
func render(seq uint64, prev Hash, now time.Time, body []byte) []byte {
	line := make([]byte, 0, len(body)+160)
	line = fmt.Appendf(line, `{"v":%d,"seq":%d,"time":"%s","prev":"%s",`, version, seq, now.UTC().Format("2006-01-02T15:04:05.000000Z"), prev)
	return append(line, body[1:]...)
}

// parseLine reads one line without its end. It asks for what the chain
// needs and ignores members that it does not know.
func parseLine(line []byte) (header, error) {
	var w struct {
		V    int       `json:"v"`
		Seq  uint64    `json:"seq"`
		Time time.Time `json:"time"`
		Prev string    `json:"prev"`
		Record
	}
	var h header
	if len(line) >= MaxLine {
		return h, fmt.Errorf("longer than %d bytes", MaxLine)
	}
	if len(line) == 0 || line[0] != '{' {
		return h, errors.New("not a JSON object")
	}
	if err := json.Unmarshal(line, &w); err != nil {
		return h, errors.New("not a JSON object of this format: " + err.Error())
	}
	switch {
	case w.V != version:
		return h, fmt.Errorf("format version %d, want %d", w.V, version)
	case w.Seq == 0:
		return h, errors.New("no sequence number")
	case w.Event == "":
		return h, errors.New("no event")
	case w.Time.IsZero():
		return h, errors.New("no time")
	}
	prev, err := ParseHash(w.Prev)
	if err != nil {
		return h, fmt.Errorf("prev: %w", err)
	}
	// Only what was written by render is accepted: the header's members stand
	// first and once, so that no reader of JSON sees other ones.
	start := fmt.Appendf(nil, `{"v":%d,"seq":%d,"time":"`, version, w.Seq)
	if !bytes.HasPrefix(line, start) {
		return h, errors.New("members not in the order of this format")
	}
	return header{seq: w.Seq, prev: prev, Record: w.Record}, nil
}

func hashOf(line []byte) Hash { return sha256.Sum256(line) }
