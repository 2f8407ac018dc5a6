package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolveModules(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio-pci.ko\n",
		"modules.dep": "kernel/net/b.ko.xz: kernel/net/a-one.ko.xz kernel/lib/base.ko.xz\n" +
			"kernel/net/a-one.ko.xz: kernel/lib/base.ko.xz\n" +
			"kernel/lib/base.ko.xz:\n" +
			"kernel/net/broken.ko: kernel/net/gone.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		want []string
		got  []string
		err  error
	}{
		{"needs first", []string{"b"}, []string{"kernel/lib/base.ko.xz", "kernel/net/a-one.ko.xz", "kernel/net/b.ko.xz"}, nil},
		{"each once", []string{"base", "a_one", "a-one"}, []string{"kernel/lib/base.ko.xz", "kernel/net/a-one.ko.xz"}, nil},
		{"built in", []string{"ext4", "virtio_pci"}, nil, nil},
		{"unknown", []string{"nonesuch"}, nil, os.ErrNotExist},
		{"unknown need", []string{"broken"}, nil, os.ErrNotExist},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := resolveModules(dir, tt.want)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error: got %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.got, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}
