package main

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"strings"
	"testing"
)

// bzImage builds one with the given payload, whose last four bytes are size.
func bzImage(payload []byte, size int) []byte {
	const sects, offset = 1, 32
	b := make([]byte, (sects+1)*512+offset, 4096)
	b[offSetupSects] = sects
	copy(b[offHeaderMagic:], "HdrS")
	binary.LittleEndian.PutUint16(b[offVersion:], 0x20f)
	binary.LittleEndian.PutUint32(b[offPayload:], offset)
	binary.LittleEndian.PutUint32(b[offPayloadLength:], uint32(len(payload)+4))
	b = append(b, payload...)
	return binary.LittleEndian.AppendUint32(b, uint32(size))
}

func TestExtractVmlinux(t *testing.T) {
	image := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel"), 1000)...)
	for _, pack := range [][]string{{"zstd", "-q", "-c"}, {"lz4", "-q", "-l", "-c"}} {
		t.Run(pack[0], func(t *testing.T) {
			path, err := findTool(pack[0])
			if err != nil {
				t.Skipf("no %s on this host", pack[0])
			}
			cmd := exec.Command(path, pack[1:]...)
			cmd.Stdin = bytes.NewReader(image)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := extractVmlinux(bzImage(packed, len(image)))
			if err != nil || !bytes.Equal(got, image) {
				t.Errorf("got %d bytes, %v, want the %d that were packed", len(got), err, len(image))
			}
			if _, err := extractVmlinux(bzImage(packed, len(image)-1)); err == nil {
				t.Error("a wrong length was accepted")
			}
		})
	}
}

func TestExtractVmlinuxBad(t *testing.T) {
	good := bzImage([]byte("????????"), 8)
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, tt := range []struct {
		name  string
		image []byte
		want  string
	}{
		{"empty", nil, "not a bzImage"},
		{"no magic", edit(func(b []byte) { b[offHeaderMagic] = 'X' }), "not a bzImage"},
		{"old protocol", edit(func(b []byte) { b[offVersion] = 7 }), "boot protocol 0x207"},
		{"payload beyond the end", edit(func(b []byte) { b[offPayloadLength+2] = 1 }), "payload from"},
		{"payload too short", edit(func(b []byte) { b[offPayloadLength] = 7 }), "payload from"},
		{"unknown compression", good, "not a known compression"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := extractVmlinux(tt.image); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}
