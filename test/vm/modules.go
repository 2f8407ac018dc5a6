package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// resolveModules returns the files of the wanted modules and of all that they
// need, relative to dir and in the order in which they must be loaded. What is
// built into the kernel is left out. It reads modules.builtin and modules.dep
// (modules.dep(5)) of dir, which is a kernel's directory below lib/modules.
func resolveModules(dir string, want []string) ([]string, error) {
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("%w (depmod makes it)", err)
	}
	r := resolver{seen: map[string]bool{}, file: map[string]string{}, needs: map[string][]string{}}
	for _, f := range strings.Fields(string(builtin)) {
		r.seen[moduleName(f)] = true
	}
	for _, line := range strings.Split(string(dep), "\n") {
		if file, needs, ok := strings.Cut(line, ":"); ok {
			name := moduleName(file)
			r.file[name], r.needs[name] = file, strings.Fields(needs)
		}
	}
	for _, w := range want {
		if err := r.add(moduleName(w)); err != nil {
			return nil, fmt.Errorf("module %q in %q: %w", w, dir, err)
		}
	}
	return r.order, nil
}

type resolver struct {
	seen  map[string]bool // loaded already, or built in
	file  map[string]string
	needs map[string][]string // files, the one to load first last
	order []string
}

func (r *resolver) add(name string) error {
	if r.seen[name] {
		return nil
	}
	file, ok := r.file[name]
	if !ok {
		return fmt.Errorf("no module %q: %w", name, os.ErrNotExist)
	}
	r.seen[name] = true
	needs := r.needs[name]
	for i := len(needs) - 1; i >= 0; i-- {
		if err := r.add(moduleName(needs[i])); err != nil {
			return err
		}
	}
	r.order = append(r.order, file)
	return nil
}

// moduleName returns the name under which the kernel knows a module's file:
// "kernel/drivers/block/virtio-blk.ko.xz" is virtio_blk.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
