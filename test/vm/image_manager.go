package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// managerCache is the directory below the cache that has systemd with all that
// it needs, as the packages have them.
const managerCache = "systemd"

// managerUnits are the units of the harness. The job's service starts last, so
// that a saved machine has all of the boot behind it. It is delegated its
// control group, as a program that makes groups of its own must be.
var managerUnits = map[string]string{
	"vmexec.target": `[Unit]
Description=A guest of vmexec
Requires=multi-user.target vmexec.service
After=multi-user.target
AllowIsolate=yes
`,
	"vmexec.service": `[Unit]
Description=The job of vmexec
After=multi-user.target
FailureAction=reboot-immediate
SuccessAction=reboot-immediate

[Service]
ExecStart=/init ` + serviceArg + `
Delegate=yes
TasksMax=infinity
OOMPolicy=continue
LimitNOFILE=1048576
StandardOutput=journal+console
StandardError=journal+console
`,
}

// managerWants are all that is started besides, by who wants it. The packages'
// own wants are left out: each costs an emulated processor a tenth of a second
// and more, and none is about services. What they would mount is mounted
// already.
var managerWants = map[string][]string{
	"sysinit.target": {"systemd-journald.service", "systemd-sysusers.service", "systemd-tmpfiles-setup.service"},
	"sockets.target": {"systemd-journald.socket", "systemd-journald-dev-log.socket"},
}

// managerGroups are Debian's groups (base-passwd) that systemd's tmpfiles.d and
// sysusers.d name.
const managerGroups = "adm:x:4:\ntty:x:5:\ndisk:x:6:\nlp:x:7:\nkmem:x:15:\ndialout:x:20:\ncdrom:x:24:\ntape:x:26:\naudio:x:29:\nvideo:x:44:\nutmp:x:43:\nshadow:x:42:\nusers:x:100:\n"

// addManager adds systemd from dir, an unpacked set of packages.
func addManager(a *archive, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "lib/systemd/systemd")); err != nil {
		return fmt.Errorf("%w: run make vm-setup", err)
	}
	for _, top := range append([]string{"usr"}, mergedDirs...) {
		src, dst := filepath.Join(dir, top), "/usr/"+top
		if top == "usr" {
			dst = "/usr"
		}
		if err := a.addManagerTree(dst, src); err != nil {
			return err
		}
	}
	const units = "/etc/systemd/system/"
	for name, text := range managerUnits {
		a.addBytes(units+name, []byte(text), 0o644)
	}
	a.addLink(units+"default.target", "vmexec.target")
	for who, list := range managerWants {
		for _, name := range list {
			a.addLink(units+who+".wants/"+name, "/usr/lib/systemd/system/"+name)
		}
	}
	a.addBytes("/etc/group", []byte(group+managerGroups), 0o644)
	return nil
}

// addManagerTree is addTree without what a guest never reads.
func (a *archive) addManagerTree(p, src string) error {
	return filepath.WalkDir(src, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, name)
		if err != nil {
			return err
		}
		dst := place(filepath.Join(p, rel))
		switch {
		case d.IsDir() && (strings.HasSuffix(rel, ".wants") || dst == "/usr/share" || filepath.Base(rel) == "gconv"):
			return fs.SkipDir
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			a.addLink(dst, target)
		case d.Type().IsRegular():
			return a.addFile(dst, name)
		}
		return nil
	})
}
