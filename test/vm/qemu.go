package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// machineType is the smallest board that boots: QEMU's microvm has no timer
// by which Debian's kernels could calibrate theirs, and they hang there.
const machineType = "q35,smm=off,usb=off,vmport=off,hpet=off,sata=off"

// tcgAccel translates the code of both processors in one thread, in turns. With
// a thread for each, QEMU 7.2 now and then leaves a processor with a stale
// translation of code that the other one patches: the guest's kernel died of
// "Oops: int3" in 2 of 14 runs when the first cpu.max made it patch its
// scheduler. On two cores one thread is no slower for these tests. 512 MiB of
// translated code are enough never to be thrown away in a test run.
const tcgAccel = "tcg,thread=single,tb-size=512"

// tcgModel is the processor that tcgAccel plays: all that QEMU knows, without
// CMPXCHG16B. QEMU 7.2 now and then leaves its flags wrong after that one, which
// Linux uses in each allocation where it is there: a 6.12 guest died of a double
// fault in __kmalloc_cache_node_noprof.
const tcgModel = "max,-cx16"

// kernelLine is the command line of the guest's kernel. A panic resets the
// machine at once (panic=-1), which ends QEMU because of -no-reboot. The
// mitigations stay on: what the sandbox does to them is under test.
const kernelLine = "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t nokaslr no_timer_check " +
	"tsc=reliable random.trust_cpu=on 8250.nr_uarts=1 rdinit=/init"

// Descriptors that QEMU inherits, in the order of exec.Cmd's ExtraFiles. All
// of them are memory files and sockets, so a run leaves no file behind
// however it ends.
const (
	fdInitrd = 3 + iota
	fdJobDisk
	fdScratch
	fdConsole
	fdQMP
	fdPorts // and one for each further name in ports
)

// qemuLine returns QEMU's arguments for everything but the kernel's path and
// what a single run adds.
func qemuLine(o options, accel string) []string {
	model := "max"
	if accel != "kvm" {
		model = tcgModel
	}
	q := []string{
		"-M", machineType, "-accel", accel, "-cpu", model, "-smp", "2", "-m", strconv.Itoa(o.memory),
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-initrd", fmt.Sprintf("/dev/fd/%d", fdInitrd), "-append", kernelLine,
		"-chardev", fmt.Sprintf("socket,id=console,fd=%d", fdConsole), "-serial", "chardev:console",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", fdQMP), "-mon", "chardev=qmp,mode=control",
		"-device", "virtio-serial-pci,max_ports=8",
	}
	for i, p := range ports {
		q = append(q, "-chardev", fmt.Sprintf("socket,id=%s,fd=%d", p, fdPorts+i),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", p, p))
	}
	disk := func(name string, fd int, flags string) {
		// Nothing else opens these files, and their content may be lost.
		q = append(q, "-drive", fmt.Sprintf("if=none,id=%s,format=raw,cache=unsafe,file.locking=off,file.driver=file,file.filename=/dev/fd/%d%s", name, fd, flags),
			"-device", fmt.Sprintf("virtio-blk-pci,drive=%s,serial=%s", name, name))
	}
	disk(diskJob, fdJobDisk, ",readonly=on")
	disk(diskScratch, fdScratch, "")
	return q
}

// chooseAccel resolves "auto". A /dev/kvm alone does not tell: some hosts that
// are guests themselves offer one without hardware virtualisation, which runs
// only kernels that were built for it. So the processor must say vmx or svm too.
func chooseAccel(o options) string {
	if o.accel != "auto" {
		return o.accel
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return tcgAccel
	}
	f.Close()
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !hasVirtualisation(string(cpu)) {
		return tcgAccel
	}
	return "kvm"
}

// hasVirtualisation looks for vmx or svm in the flags of /proc/cpuinfo.
func hasVirtualisation(cpuinfo string) bool {
	for _, line := range strings.Split(cpuinfo, "\n") {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			for _, f := range strings.Fields(flags) {
				if f == "vmx" || f == "svm" {
					return true
				}
			}
		}
	}
	return false
}
