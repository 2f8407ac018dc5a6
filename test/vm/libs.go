package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errNotELF means a script or a file of data, which needs no libraries.
var errNotELF = errors.New("not an ELF file")

// addLibs adds the loader and the shared objects that the program or library
// prog of the host needs, each at the path at which the host has it. They are
// looked up as the guest will look them up, without a cache (ld.so(8)), so what
// only /etc/ld.so.cache would find is an error here and not a riddle there.
func (a *archive) addLibs(prog string) error {
	loader, err := interpreter(prog)
	if errors.Is(err, errNotELF) {
		return nil
	}
	if err != nil {
		return err
	}
	if loader == "" {
		return nil
	}
	if err := a.addFile(loader, loader); err != nil {
		return err
	}
	cmd := exec.Command(loader, "--inhibit-cache", "--list", prog)
	cmd.Env = []string{}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("list the libraries of %q: %w: %s", prog, err, out)
	}
	for _, lib := range listedLibs(string(out)) {
		if err := a.addFile(lib, lib); err != nil {
			return err
		}
	}
	return nil
}

// listedLibs takes the paths out of lines such as
// "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f...)".
func listedLibs(out string) []string {
	var libs []string
	for _, line := range strings.Split(out, "\n") {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "/") {
				libs = append(libs, word)
				break
			}
		}
	}
	return libs
}

// interpreter returns the loader that an ELF file names; "" when it is static.
// A shared library names none but needs one to be listed: it gets the usual one.
func interpreter(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != elf.ELFMAG {
		return "", fmt.Errorf("%q: %w", file, errNotELF)
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return "", fmt.Errorf("%q: %w", file, err)
	}
	if e.Machine != elf.EM_X86_64 {
		return "", nil
	}
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				return "", fmt.Errorf("%q: read its interpreter: %w", file, err)
			}
			return strings.TrimRight(string(b), "\x00"), nil
		}
	}
	if needed, err := e.ImportedLibraries(); err == nil && len(needed) > 0 {
		return "/lib64/ld-linux-x86-64.so.2", nil
	}
	return "", nil
}

// addExtra adds a file or a directory of the host with the shared libraries of
// every program and library in it.
func (a *archive) addExtra(x extraFile) error {
	fi, err := os.Stat(x.src)
	if err != nil {
		return fmt.Errorf("extra file: %w", err)
	}
	if !fi.IsDir() {
		if err := a.addFile(x.dst, x.src); err != nil {
			return err
		}
		return a.addLibs(x.src)
	}
	if err := a.addTree(x.dst, x.src); err != nil {
		return err
	}
	return filepath.WalkDir(x.src, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return a.addLibs(name)
	})
}
