package main

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readJob waits for the job's line.
func readJob(port *os.File) (job, error) {
	var j job
	if err := json.NewDecoder(patientReader{port}).Decode(&j); err != nil {
		return j, fmt.Errorf("read the job: %w", err)
	}
	return j, nil
}

// prepare sets the clock and the random numbers, which a saved machine would
// repeat, unpacks the job's files and mounts the scratch disk.
func prepare(j job) error {
	now := unix.NsecToTimespec(j.Now)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	if err := seedRandom(j.Seed); err != nil {
		return err
	}
	if err := unpackJob(); err != nil {
		return err
	}
	for _, d := range j.Dirs {
		if err := os.MkdirAll(filepath.Join(guestOut, d), 0o755); err != nil {
			return err
		}
	}
	return mountScratch()
}

// seedRandom mixes seed into the kernel's pool and makes it count at once
// (random(4), RNDRESEEDCRNG).
func seedRandom(seed []byte) error {
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(seed); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.RNDRESEEDCRNG, 0); err != nil {
		return fmt.Errorf("reseed the random numbers: %w", err)
	}
	return nil
}

// unpackJob unpacks the tar on the job's disk over /.
func unpackJob() error {
	dev, err := diskDevice(diskJob)
	if err != nil {
		return err
	}
	if err := dropCache(dev); err != nil {
		return err
	}
	f, err := os.Open(dev)
	if err != nil {
		return err
	}
	defer f.Close()
	t := tar.NewReader(bufio.NewReaderSize(f, 1<<20))
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unpack the job: %w", err)
		}
		if err := unpackEntry(t, h); err != nil {
			return fmt.Errorf("unpack %q: %w", h.Name, err)
		}
	}
}

func unpackEntry(t *tar.Reader, h *tar.Header) error {
	name := filepath.Join("/", h.Name)
	if h.Typeflag == tar.TypeDir {
		return os.MkdirAll(name, h.FileInfo().Mode().Perm())
	}
	// What is there may be a link to busybox, which must not be written through.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if h.Typeflag == tar.TypeSymlink {
		return os.Symlink(h.Linkname, name)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, t)
	return errors.Join(err, f.Chmod(h.FileInfo().Mode()), f.Close())
}

// sendFiles writes the regular files below dir to the port as a tar.
func sendFiles(port *os.File, dir string) error {
	w := bufio.NewWriterSize(port, 1<<16)
	t := tar.NewWriter(w)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: rel, Mode: 0o644, Size: fi.Size()}); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyN(t, f, fi.Size())
		return err
	})
	if err != nil {
		return fmt.Errorf("send the files of %q: %w", dir, err)
	}
	return errors.Join(t.Close(), w.Flush())
}
