package state

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// KeptReports is how many reports of runs that were not ok are kept (SPEC 5,
// Audit).
const KeptReports = 200

// maxReport bounds one kept report, in bytes. One with sixteen violations has
// some 8 KiB; a larger one is not kept, since half of one explains nothing.
const maxReport = 64 << 10

// reportsDir is where the reports are, below a state directory.
const reportsDir = "reports"

// KeepReport keeps the report of a run that was not ok, for who asks why: the
// JSON object of SPEC 2, which has neither the arguments nor the environment of
// the run, and so no secret. "Not ok" is every outcome but `ok`, as SPEC 5 says
// it: a run that its program ended with a status, that was refused, or that was
// never launched is kept as well. run is its id, empty for one that got none.
// Each report is a file of its own, 0600 in a directory of 0700, which a rename
// puts in its place: what is cut off leaves a temporary file that later calls take
// away, and two at once do not meet. It is not synced: a power cut may cost the
// newest. The oldest beyond KeptReports are removed, and a run that is there
// already, because a daemon of the same user kept it, is not kept twice.
func KeepReport(dir, run string, report []byte) error {
	if dir == "" || len(report) == 0 || len(report) > maxReport {
		return nil
	}
	path := dir + "/" + reportsDir
	d, err := safefs.OpenTrusted(path)
	if err != nil {
		mode := uint32(0o700)
		if os.Geteuid() == 0 {
			mode = 0o755 // as Write makes the directories above
		}
		if err := mkdirAll(dir, mode); err != nil {
			return err
		}
		if err := unix.Mkdir(path, 0o700); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "make directory", Path: path, Err: err}
		}
		if d, err = safefs.OpenTrusted(path); err != nil {
			return err
		}
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&0o077 != 0 {
		if err := unix.Fchmod(int(d.Fd()), 0o700); err != nil {
			return &os.PathError{Op: "chmod", Path: path, Err: err}
		}
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	name := reportName(time.Now(), run)
	if _, id, ok := strings.Cut(name, "."); ok && id != "json" && slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "."+id) && n[0] != '.' }) {
		return nil
	}
	if err := safefs.ReplaceAtomic(d, name, 0o600, report); err != nil {
		return err
	}
	return trimReports(d, append(names, name))
}

// reportName sorts as the time does; the run's id tells two of one moment
// apart.
func reportName(now time.Time, run string) string {
	const digits = "0000000000000000"
	hex := strconv.FormatUint(uint64(max(now.UnixNano(), 0)), 16)
	name := digits[:max(len(digits)-len(hex), 0)] + hex
	for i := range len(run) {
		switch c := run[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-':
		default:
			return name + ".json"
		}
	}
	if run == "" || len(run) > 64 {
		return name + ".json"
	}
	return name + "." + run + ".json"
}

// trimReports removes the oldest reports beyond the bound, and what writes left
// that were cut off an hour ago or more.
func trimReports(d *os.File, names []string) error {
	if len(names) <= KeptReports {
		return nil
	}
	var reports []string
	for _, name := range names {
		if name[0] != '.' {
			reports = append(reports, name)
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && time.Since(time.Unix(st.Mtim.Unix())) > time.Hour {
			unix.Unlinkat(int(d.Fd()), name, 0) // another one may have been faster
		}
	}
	slices.Sort(reports)
	for i := range len(reports) - KeptReports {
		if err := unix.Unlinkat(int(d.Fd()), reports[i], 0); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "remove", Path: d.Name() + "/" + reports[i], Err: err}
		}
	}
	return nil
}
