package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Result is what [Verify] found. The chain is whole when Broken is nil and
// every anchor was met.
type Result struct {
	// Files are those that were read, in the order of the chain.
	Files []string `json:"files"`
	// Lines counts the lines that fit to the one before; First and Last are
	// sequence numbers.
	Lines uint64 `json:"lines"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Head is the hash of the last line that fits, to be kept elsewhere as
	// an anchor.
	Head string `json:"head"`
	// Complete is true when the chain begins with its genesis. A chain whose
	// oldest files were removed does not.
	Complete bool `json:"complete"`
	// Kills counts writers that did not close the log, the last one left
	// out: it may be at work.
	Kills int `json:"kills"`
	// Open counts runs that began and have no end: killed with their
	// daemon, or still going.
	Open int `json:"open"`
	// Torn are the places where a crash left a part of a line, declared so
	// by the next writer.
	Torn []Place `json:"torn,omitempty"`
	// Tail is the number of bytes after the last line: one that is being
	// written, or that the last writer did not finish.
	Tail int `json:"tail,omitempty"`
	// Anchored is true when every anchor that was given was met.
	Anchored bool `json:"anchored"`
	// Broken is the first line that does not fit.
	Broken *Broken `json:"broken,omitempty"`
}

// Place is a line of a file, counted from 1.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Broken is a line that does not fit, and why.
type Broken struct {
	Place
	Why string `json:"why"`
}

// Anchor is a head that was kept: a line that must be in the chain.
type Anchor struct {
	Seq  uint64
	Hash Hash
}

// Input is one file of a chain.
type Input struct {
	Name string
	io.Reader
}

// maxOpen bounds the runs that are remembered as begun. More are not going at
// once on any host; past it Open is a lower bound.
const maxOpen = 1 << 20

// verifier goes through the lines of a chain.
type verifier struct {
	res     Result
	at      Place
	last    Place // of the last line that fits
	head    Hash
	anchors map[uint64]Hash
	writer  bool // an Opened without a Closed
	runs    map[string]bool
	region  []byte // what is no line, until a Torn declares it
	regionP Place
}

// Verify reads the files of one chain in the order of their lines. The error
// is one of reading; a chain that does not hold is in the result. Who controls
// the input is not believed: a line is bounded before it is read.
func Verify(files []Input, anchors []Anchor) (Result, error) {
	v := &verifier{anchors: map[uint64]Hash{}, runs: map[string]bool{}}
	v.res.Files = []string{}
	for _, a := range anchors {
		v.anchors[a.Seq] = a.Hash
	}
	for _, f := range files {
		v.res.Files = append(v.res.Files, f.Name)
		if err := v.file(f); err != nil {
			return v.res, err
		}
		if v.res.Broken != nil {
			break
		}
	}
	v.res.Open, v.res.Anchored = len(v.runs), len(v.anchors) == 0
	if v.res.Lines > 0 {
		v.res.Head = v.head.String()
	}
	if v.res.Broken == nil && v.region != nil {
		// The last writer died here and nobody has opened the log since.
		v.res.Tail += len(v.region)
	}
	return v.res, nil
}

func (v *verifier) file(f Input) error {
	r := bufio.NewReaderSize(f.Reader, MaxLine+1)
	v.at = Place{File: f.Name}
	if v.res.Tail > 0 {
		v.region, v.res.Tail = nil, 0
		v.at.Line = 1
		v.broken("the file before it ends in the middle of a line")
		return nil
	}
	for v.res.Broken == nil {
		line, err := r.ReadSlice('\n')
		v.at.Line++
		switch {
		case err == io.EOF:
			v.res.Tail = len(line)
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			v.broken(fmt.Sprintf("longer than %d bytes", MaxLine))
		case err != nil:
			return fmt.Errorf("read %s: %w", f.Name, err)
		default:
			v.line(line[:len(line)-1])
		}
	}
	return nil
}

func (v *verifier) broken(why string) {
	v.res.Broken = &Broken{Place: v.at, Why: why}
}

// line checks one line without its end.
func (v *verifier) line(line []byte) {
	h, err := parseLine(line)
	if err != nil {
		if v.region == nil {
			v.regionP = v.at
		}
		v.region = append(append(v.region, line...), '\n')
		if len(v.region) > 2*MaxLine {
			v.at = v.regionP
			v.broken(err.Error())
		}
		return
	}
	if v.region != nil && h.Event != Torn {
		// Say why the first of them is no line, not that this one follows.
		at := v.regionP
		first, _, _ := bytes.Cut(v.region, []byte("\n"))
		_, err := parseLine(first)
		v.at = at
		v.broken(err.Error())
		return
	}
	switch {
	case v.res.Lines == 0:
		v.res.First, v.res.Complete = h.seq, h.seq == 1
		if h.seq == 1 && h.prev != (Hash{}) {
			v.broken("the first line of a chain names a line before it")
			return
		}
	case h.seq != v.res.Last+1:
		v.broken(fmt.Sprintf("sequence number %d after %d", h.seq, v.res.Last))
		return
	case h.prev != v.head:
		// Either line may be the one that was changed; it is hardly ever
		// the one that only names a hash.
		why := fmt.Sprintf("changed: its hash is %s, and line %d of %s names %s", v.head, v.at.Line, v.at.File, h.prev)
		v.at = v.last
		v.broken(why)
		return
	}
	if h.Event == Torn {
		if int64(len(v.region)) != h.Bytes || hashOf(v.region).String() != h.SHA256 {
			v.broken("it declares torn bytes that are not there, or not those")
			return
		}
		v.res.Torn = append(v.res.Torn, v.regionP)
		v.region = nil
	}
	v.res.Lines++
	v.res.Last, v.head, v.last = h.seq, hashOf(line), v.at
	if want, ok := v.anchors[h.seq]; ok {
		if want != v.head {
			v.broken(fmt.Sprintf("it is not the line of the anchor: its hash is %s", v.head))
			return
		}
		delete(v.anchors, h.seq)
	}
	v.count(h)
}

// count keeps what a reader wants to know besides.
func (v *verifier) count(h header) {
	switch h.Event {
	case Opened:
		if v.writer {
			v.res.Kills++
		}
		v.writer = true
	case Closed:
		v.writer = false
	case Start:
		if len(v.runs) < maxOpen {
			v.runs[h.Run] = true
		}
	case Run:
		delete(v.runs, h.Run)
	}
}

// VerifyDir verifies the chain in a directory, which a daemon may be writing.
func VerifyDir(dir string, anchors []Anchor) (Result, error) {
	// The current file first: should it be renamed in between, it is listed
	// as well, and told apart by its inode.
	current, err := os.Open(filepath.Join(dir, Current))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Result{}, err
	}
	paths, err := filepath.Glob(filepath.Join(escape(dir), Current+".*"))
	if err != nil {
		return Result{}, err
	}
	paths = slices.DeleteFunc(paths, func(p string) bool {
		_, ok := fullNumber(Current, filepath.Base(p))
		return !ok
	})
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			if current != nil {
				current.Close()
			}
			return Result{}, err
		}
		files = append(files, f)
	}
	if current != nil {
		files = append(files, current)
	}
	if len(files) == 0 {
		return Result{}, fmt.Errorf("%s: %w", filepath.Join(dir, Current), os.ErrNotExist)
	}
	return verifyOpen(files, anchors)
}

// VerifyFiles verifies the named files as one chain, in any order. A
// directory stands for the chain in it.
func VerifyFiles(paths []string, anchors []Anchor) (Result, error) {
	if len(paths) == 1 {
		if st, err := os.Stat(paths[0]); err == nil && st.IsDir() {
			return VerifyDir(paths[0], anchors)
		}
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, p := range paths {
		// Not blocking: what is named may be a pipe that nobody writes.
		f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return Result{}, err
		}
		files = append(files, f)
		if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
			return Result{}, fmt.Errorf("%s: not a regular file", p)
		}
	}
	return verifyOpen(files, anchors)
}

// verifyOpen puts files in the order of their first lines; one that was named
// twice counts once.
func verifyOpen(files []*os.File, anchors []Anchor) (Result, error) {
	type numbered struct {
		file  *os.File
		first uint64
	}
	var list []numbered
	for i, f := range files {
		st, err := f.Stat()
		if err != nil {
			return Result{}, err
		}
		if slices.ContainsFunc(files[:i], func(o *os.File) bool {
			ost, err := o.Stat()
			return err == nil && os.SameFile(st, ost)
		}) {
			continue
		}
		first := firstOf(f)
		if first == 0 {
			first = ^uint64(0) // an empty current file
		}
		list = append(list, numbered{f, first})
	}
	slices.SortStableFunc(list, func(a, b numbered) int {
		switch {
		case a.first < b.first:
			return -1
		case a.first > b.first:
			return 1
		}
		return 0
	})
	inputs := make([]Input, len(list))
	for i, n := range list {
		inputs[i] = Input{Name: n.file.Name(), Reader: n.file}
	}
	return Verify(inputs, anchors)
}

// escape makes a directory's name mean itself in a pattern.
func escape(dir string) string {
	var b bytes.Buffer
	for _, c := range []byte(dir) {
		if bytes.IndexByte([]byte(`*?[\`), c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}
