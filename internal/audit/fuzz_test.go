package audit

import (
	"bytes"
	"os"
	"testing"
	"time"
)

// FuzzVerify: whatever is read, no panic; and in what is accepted no line can
// be left out.
func FuzzVerify(f *testing.F) {
	dir := f.TempDir()
	l, err := Open(dir, Options{Now: func() time.Time { return time.Unix(1, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	l.Append(Record{Event: Start, Run: "r"})
	l.Close()
	text, _ := os.ReadFile(dir + "/" + Current)
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add([]byte("{}\n"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		res, err := Verify([]Input{{"x", bytes.NewReader(text)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(text, []byte("\n"))
		if res.Broken != nil || len(res.Torn) > 0 || res.Tail > 0 || len(lines) < 4 {
			return
		}
		if uint64(len(lines)-1) != res.Lines {
			t.Errorf("%d lines counted of %d", res.Lines, len(lines)-1)
		}
		without := append(bytes.Clone(lines[0]), bytes.Join(lines[2:], nil)...)
		if res, _ := Verify([]Input{{"x", bytes.NewReader(without)}}, nil); res.Broken == nil {
			t.Error("a line was left out and nothing said so")
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Append(Record{Event: Start, Run: "0123456789abcdef", Command: "db.backup", Version: "2.4.1", Caller: &Caller{}}); err != nil {
			b.Fatal(err)
		}
	}
}
