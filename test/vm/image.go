package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// harnessModules are what the guest's side of the protocol needs, and what the
// tests may count on: overlayfs, and vsock, so that a refused socket of that
// family is refused by the sandbox and not by the kernel's lack of it.
var harnessModules = []string{"virtio_pci", "virtio_console", "virtio_blk", "overlay", "vsock"}

// Users of the guest: root, nobody, and an ordinary one for tests that must
// not be root.
const (
	passwd = "root:x:0:0:root:/root:/bin/sh\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n" +
		"tester:x:1000:1000:tester:/home/tester:/bin/sh\n"
	group = "root:x:0:\nnogroup:x:65534:\ntester:x:1000:\n"
)

// bootImage is what does not depend on the job: /init, modules, busybox, users.
func bootImage(k kernel, modules []string) (*archive, error) {
	a := &archive{}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if loader, err := interpreter(self); err != nil {
		return nil, err
	} else if loader != "" {
		return nil, fmt.Errorf("%q needs %s: build vmexec with CGO_ENABLED=0, it is the guest's init", self, loader)
	}
	if err := a.addFile("/init", self); err != nil {
		return nil, err
	}
	for _, d := range mergedDirs {
		a.addDir("/usr/"+d, 0o755)
		a.addLink("/"+d, "usr/"+d)
	}
	order, err := resolveModules(k.modules, append(append([]string{}, harnessModules...), modules...))
	if err != nil {
		return nil, err
	}
	for i, m := range order {
		name := fmt.Sprintf("%s/%03d-%s", guestModules, i, filepath.Base(m))
		if err := a.addFile(name, filepath.Join(k.modules, m)); err != nil {
			return nil, err
		}
	}
	if err := addBusybox(a); err != nil {
		return nil, err
	}
	for _, d := range []string{"/dev", "/etc", "/home", "/mnt", "/opt", "/proc", "/run", "/srv", "/sys", "/var/cache", "/var/lib", "/var/log", guestScratch} {
		a.addDir(d, 0o755)
	}
	a.addDir("/root", 0o700)
	a.addDir("/tmp", 0o777)
	a.addDir("/var/tmp", 0o777)
	a.addDir("/home/tester", 0o755) // init gives it to tester: a cpio entry here is root's
	a.addLink("/var/run", "/run")
	for name, text := range map[string]string{
		"/etc/passwd":     passwd,
		"/etc/group":      group,
		"/etc/hostname":   guestHostname + "\n",
		"/etc/hosts":      "127.0.0.1 localhost " + guestHostname + "\n::1 localhost\n",
		"/etc/machine-id": "5b78766d000000000000000000000001\n",
		"/etc/os-release": "ID=debian\nNAME=\"sbx test guest\"\n",
	} {
		a.addBytes(name, []byte(text), 0o644)
	}
	return a, nil
}

// addBusybox adds the static busybox and a link for each of its commands. Real
// programs among the extra files take the places of the links.
func addBusybox(a *archive) error {
	bin, err := findTool("busybox")
	if err != nil {
		return err
	}
	if loader, err := interpreter(bin); err != nil {
		return err
	} else if loader != "" {
		return fmt.Errorf("%q is not static: run make vm-setup", bin)
	}
	if err := a.addFile("/usr/bin/busybox", bin); err != nil {
		return err
	}
	list, err := exec.Command(bin, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", bin, err)
	}
	for _, applet := range strings.Fields(string(list)) {
		if applet != "busybox" {
			a.addLink("/usr/bin/"+applet, "busybox")
		}
	}
	return nil
}
