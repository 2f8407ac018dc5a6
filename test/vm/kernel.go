package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernel is an unpacked Debian kernel package.
type kernel struct {
	vmlinux string // the ELF image
	modules string // directory with modules.dep
}

// openKernel finds the kernel that o names, and makes its ELF image when it is
// not there yet.
func openKernel(o options) (kernel, error) {
	dir := o.kernel
	if !strings.Contains(dir, "/") {
		dir = filepath.Join(o.cache, "kernels", o.kernel)
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return kernel{}, err
	}
	if len(images) != 1 {
		return kernel{}, fmt.Errorf("kernel %q: %d images in %q, want 1: run make vm-setup", o.kernel, len(images), dir+"/boot")
	}
	version := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := kernel{
		vmlinux: filepath.Join(dir, "vmlinux"),
		modules: filepath.Join(dir, "lib", "modules", version),
	}
	if _, err := os.Stat(k.vmlinux); err == nil {
		return k, nil
	}
	return k, extractTo(k.vmlinux, images[0])
}

// extractTo writes the ELF image of a bzImage to dst, whole or not at all.
func extractTo(dst, bzImage string) error {
	b, err := os.ReadFile(bzImage)
	if err != nil {
		return err
	}
	image, err := extractVmlinux(b)
	if err != nil {
		return fmt.Errorf("extract the kernel of %q: %w", bzImage, err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), "vmlinux.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(image)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), dst)
}

// Offsets in the setup header of a bzImage (Documentation/arch/x86/boot.rst).
const (
	offSetupSects    = 0x1f1
	offHeaderMagic   = 0x202 // "HdrS"
	offVersion       = 0x206
	offPayload       = 0x248 // from the start of the protected-mode code; since version 2.08
	offPayloadLength = 0x24c
	headerEnd        = 0x250
)

// unpackers are the commands for the payload's formats, by their first bytes.
// QEMU boots a plain ELF image with a PVH note at once, while a guest without
// hardware virtualisation takes two to three seconds for unpacking by itself.
var unpackers = map[string][]string{
	"\x28\xb5\x2f\xfd": {"zstd", "-dc"},
	"\x02\x21\x4c\x18": {"lz4", "-dc"},
	"\xfd7zX":          {"xz", "-dc"},
}

// extractVmlinux returns the ELF image inside a bzImage.
func extractVmlinux(b []byte) ([]byte, error) {
	if len(b) < headerEnd || string(b[offHeaderMagic:offHeaderMagic+4]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	if v := binary.LittleEndian.Uint16(b[offVersion:]); v < 0x208 {
		return nil, fmt.Errorf("boot protocol %#x: 0x208 is needed", v)
	}
	sects := int64(b[offSetupSects])
	if sects == 0 {
		sects = 4 // what zero means since the first version
	}
	start := (sects+1)*512 + int64(binary.LittleEndian.Uint32(b[offPayload:]))
	end := start + int64(binary.LittleEndian.Uint32(b[offPayloadLength:]))
	if end > int64(len(b)) || end-start < 8 {
		return nil, fmt.Errorf("payload from %d to %d in %d bytes", start, end, len(b))
	}
	// The build appends the unpacked length as the last four bytes.
	packed, size := b[start:end-4], binary.LittleEndian.Uint32(b[end-4:end])
	argv, ok := unpackers[string(packed[:4])]
	if !ok {
		return nil, fmt.Errorf("payload begins with %x: not a known compression", packed[:4])
	}
	path, err := findTool(argv[0])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Stdin = bytes.NewReader(packed)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	image, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", argv[0], err, stderr.Bytes())
	}
	if uint32(len(image)) != size || !bytes.HasPrefix(image, []byte("\x7fELF")) {
		return nil, fmt.Errorf("unpacked to %d bytes that begin with %x, want an ELF image of %d", len(image), image[:min(4, len(image))], size)
	}
	return image, nil
}

// findTool looks a command up in PATH and in the directories for
// administrators, which PATH of an ordinary user leaves out.
func findTool(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: not found: run make vm-setup", name)
}
