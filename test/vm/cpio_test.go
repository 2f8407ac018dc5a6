package main

import (
	"bytes"
	"fmt"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readCpio is a reader of its own for the format, so that the writer is not
// compared with itself: "mode name content" per entry.
func readCpio(t *testing.T, b []byte) []string {
	t.Helper()
	var list []string
	for off := 0; ; {
		if off%4 != 0 || len(b) < off+110 || string(b[off:off+6]) != "070701" {
			t.Fatalf("no header at %d of %d", off, len(b))
		}
		field := func(i int) int {
			n, err := strconv.ParseInt(string(b[off+6+8*i:off+14+8*i]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		mode, size, namesize := field(1), field(6), field(11)
		name := string(b[off+110 : off+110+namesize-1])
		if b[off+110+namesize-1] != 0 {
			t.Fatalf("name %q does not end with a zero", name)
		}
		off = (off + 110 + namesize + 3) &^ 3
		if name == "TRAILER!!!" {
			return list
		}
		list = append(list, fmt.Sprintf("%o %s %s", mode, name, b[off:off+size]))
		off = (off + size + 3) &^ 3
	}
}

func TestWriteCpio(t *testing.T) {
	a := sample(t)
	var first, second bytes.Buffer
	if err := a.writeCpio(&first); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"120777 bin usr/bin", "40755 etc ", "100644 etc/passwd root\n", "40700 root ",
		"40755 usr ", "40755 usr/bin ", "100755 usr/bin/prog content",
	}
	if diff := cmp.Diff(want, readCpio(t, first.Bytes())); diff != "" {
		t.Errorf("cpio (-want +got):\n%s", diff)
	}
	if err := a.writeCpio(&second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same archive gave different bytes: no saved machine would ever be used")
	}
}

func TestWriteCpioMissingFile(t *testing.T) {
	a := &archive{}
	a.put("/x", entry{src: t.TempDir() + "/gone"})
	if err := a.writeCpio(&bytes.Buffer{}); err == nil {
		t.Error("a missing file gave no error")
	}
}
