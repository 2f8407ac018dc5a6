package elfclosure

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of one file. Real programs stay far below: the largest seen have 15
// program headers, 90 dynamic entries of interest and 60 needed libraries.
const (
	maxProgs   = 256
	maxDynamic = 4096
	maxNeeded  = 512
	maxString  = 4096
)

// ErrNotELF is returned for a file that does not begin as a 64-bit
// little-endian ELF executable or shared object does.
var ErrNotELF = errors.New("not a 64-bit little-endian ELF program or library")

// Image is what the loader reads of one ELF file.
type Image struct {
	// Machine is the architecture.
	Machine elf.Machine
	// Interp is PT_INTERP, the path of the loader as written; empty for a
	// static program and for most libraries.
	Interp string
	// Needed are the DT_NEEDED names in order.
	Needed []string
	// Soname is DT_SONAME; may be empty.
	Soname string
	// RPath and RunPath are DT_RPATH and DT_RUNPATH as written.
	RPath, RunPath string
	// Dynamic is set when there is a dynamic section.
	Dynamic bool
	// Program is set for what execve(2) can start: an ET_EXEC file, one with
	// an interpreter, or a position-independent program without one
	// (DF_1_PIE). Plain shared objects are not, whatever their mode.
	Program bool
	// WriteExec names a segment that execve(2) maps writable and executable
	// whatever PR_SET_MDWE says, or cannot map because of it: "PT_GNU_STACK"
	// or "PT_LOAD 0x..." with its address; empty: none. A file without
	// PT_GNU_STACK has none: its stack is not executable on 64 bits (Linux
	// 5.8, arch/x86/include/asm/elf.h).
	WriteExec string
}

// Parse reads the headers of an ELF file of the given size.
//
// Trust boundary. Who controls the input: whoever wrote the file, which may
// be a bundle's publisher. What privilege is held: that of the compiler of
// plans, root in the daemon. What has been checked: nothing. What fails
// closed: every count, offset and length is bounded before it is used, and
// anything odd is an error that refuses the program.
func Parse(r io.ReaderAt, size int64) (Image, error) {
	var img Image
	var h elf.Header64
	if err := readStruct(r, size, 0, &h); err != nil {
		return img, ErrNotELF
	}
	if string(h.Ident[:4]) != elf.ELFMAG || h.Ident[elf.EI_CLASS] != byte(elf.ELFCLASS64) ||
		h.Ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) {
		return img, ErrNotELF
	}
	kind := elf.Type(h.Type)
	if kind != elf.ET_EXEC && kind != elf.ET_DYN {
		return img, ErrNotELF
	}
	img.Machine = elf.Machine(h.Machine)
	if h.Phnum > maxProgs || int(h.Phentsize) != binary.Size(elf.Prog64{}) {
		return img, fmt.Errorf("ELF header names %d program headers of %d bytes", h.Phnum, h.Phentsize)
	}
	progs := make([]elf.Prog64, h.Phnum)
	if err := readStruct(r, size, h.Phoff, progs); err != nil {
		return img, fmt.Errorf("read ELF program headers: %w", err)
	}
	dynflags := uint64(0)
	for _, p := range progs {
		switch elf.ProgType(p.Type) {
		case elf.PT_GNU_STACK:
			if elf.ProgFlag(p.Flags)&elf.PF_X != 0 {
				img.WriteExec = "PT_GNU_STACK"
			}
		case elf.PT_LOAD:
			const wx = elf.PF_W | elf.PF_X
			if img.WriteExec == "" && elf.ProgFlag(p.Flags)&wx == wx {
				img.WriteExec = fmt.Sprintf("PT_LOAD %#x", p.Vaddr)
			}
		case elf.PT_INTERP:
			s, err := readString(r, size, p.Off, p.Filesz)
			if err != nil {
				return img, fmt.Errorf("read ELF interpreter: %w", err)
			}
			img.Interp = s
		case elf.PT_DYNAMIC:
			img.Dynamic = true
			var err error
			if dynflags, err = img.dynamic(r, size, p, progs); err != nil {
				return img, err
			}
		}
	}
	img.Program = kind == elf.ET_EXEC || img.Interp != "" || dynflags&uint64(elf.DF_1_PIE) != 0
	return img, nil
}

// dynamic reads the dynamic section at p and returns DT_FLAGS_1.
func (img *Image) dynamic(r io.ReaderAt, size int64, p elf.Prog64, progs []elf.Prog64) (uint64, error) {
	n := p.Filesz / uint64(binary.Size(elf.Dyn64{}))
	if n > maxDynamic {
		return 0, fmt.Errorf("ELF dynamic section has %d entries, more than %d", n, maxDynamic)
	}
	dyn := make([]elf.Dyn64, n)
	if err := readStruct(r, size, p.Off, dyn); err != nil {
		return 0, fmt.Errorf("read ELF dynamic section: %w", err)
	}
	var table, flags uint64
	var needed []uint64
	var soname, rpath, runpath *uint64
scan:
	for i := range dyn {
		v := dyn[i].Val
		switch elf.DynTag(dyn[i].Tag) {
		case elf.DT_NULL:
			break scan
		case elf.DT_STRTAB:
			table = v
		case elf.DT_NEEDED:
			needed = append(needed, v)
		case elf.DT_SONAME:
			soname = &v
		case elf.DT_RPATH:
			rpath = &v
		case elf.DT_RUNPATH:
			runpath = &v
		case elf.DT_FLAGS_1:
			flags = v
		}
	}
	if len(needed) > maxNeeded {
		return 0, fmt.Errorf("ELF file needs %d libraries, more than %d", len(needed), maxNeeded)
	}
	if len(needed) == 0 && soname == nil && rpath == nil && runpath == nil {
		return flags, nil
	}
	base, limit, ok := fileOffset(progs, table)
	if !ok {
		return 0, errors.New("ELF string table lies in no loaded segment")
	}
	str := func(off uint64) (string, error) {
		if off >= limit {
			return "", errors.New("ELF string lies outside its segment")
		}
		return readString(r, size, base+off, limit-off)
	}
	for _, off := range needed {
		s, err := str(off)
		if err != nil {
			return 0, err
		}
		img.Needed = append(img.Needed, s)
	}
	for _, f := range []struct {
		off *uint64
		to  *string
	}{{soname, &img.Soname}, {rpath, &img.RPath}, {runpath, &img.RunPath}} {
		if f.off == nil {
			continue
		}
		s, err := str(*f.off)
		if err != nil {
			return 0, err
		}
		*f.to = s
	}
	return flags, nil
}

// fileOffset maps a virtual address to its offset in the file and the bytes
// that its segment holds from there.
func fileOffset(progs []elf.Prog64, addr uint64) (off, left uint64, ok bool) {
	for _, p := range progs {
		if elf.ProgType(p.Type) == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Filesz {
			d := addr - p.Vaddr
			if p.Off+d < p.Off { // wraps
				return 0, 0, false
			}
			return p.Off + d, p.Filesz - d, true
		}
	}
	return 0, 0, false
}

// readStruct fills v, whose size the caller has bounded, from offset off.
func readStruct(r io.ReaderAt, size int64, off uint64, v any) error {
	n := binary.Size(v)
	if n < 0 || size < 0 || off > uint64(size) || uint64(n) > uint64(size)-off {
		return io.ErrUnexpectedEOF
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, int64(off)); err != nil && !(err == io.EOF && off+uint64(n) == uint64(size)) {
		return err
	}
	return binary.Read(bytes.NewReader(b), binary.LittleEndian, v)
}

// readString reads a NUL-terminated string of at most limit bytes.
func readString(r io.ReaderAt, size int64, off, limit uint64) (string, error) {
	if size < 0 || off >= uint64(size) {
		return "", io.ErrUnexpectedEOF
	}
	limit = min(limit, uint64(size)-off, maxString)
	b := make([]byte, limit)
	n, err := r.ReadAt(b, int64(off))
	if err != nil && err != io.EOF {
		return "", err
	}
	end := bytes.IndexByte(b[:n], 0)
	if end < 0 {
		return "", fmt.Errorf("ELF string is longer than %d bytes or has no end", limit)
	}
	return string(b[:end]), nil
}
