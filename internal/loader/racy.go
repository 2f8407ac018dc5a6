package loader

import (
	"time"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/registry"
)

// racy is how long after a change of a file its stamp is not trusted: a
// second change within the clock tick of a file system would not show (SPEC 3
// says 20 ms).
const racy = 20 * time.Millisecond

// racyTries is how often a bundle that changes again and again is waited for:
// 0.2 s at most.
const racyTries = 10

// waitRacy waits until none of the stamps is racy, and tells whether it had to.
func waitRacy(stamps []plan.Stamp) bool {
	var newest int64
	for _, s := range stamps {
		newest = max(newest, s.MtimeNs, s.CtimeNs)
	}
	age := time.Since(time.Unix(0, newest))
	if age < 0 || age >= racy {
		return false // a time ahead of the clock cannot be waited for
	}
	time.Sleep(racy - age)
	return true
}

// maxTorn is how many looks in a row may find a command that is being replaced
// before it counts as one that cannot be read and is rejected as such: what is
// written for ever, as a log in a bundle, is told of once.
const maxTorn = 10

// tornAgain tells whether err means that a command was being replaced, and
// hardly has been so for ever. Preconditions: mu is held.
func (l *Loader) tornAgain(name string, err error) bool {
	if !registry.Torn(err) {
		delete(l.torn, name)
		return false
	}
	if l.torn == nil {
		l.torn = map[string]int{}
	}
	l.torn[name]++
	return l.torn[name] <= maxTorn
}

// read reads what lies on disk, with the stamps of everything that decides what
// that is.
func (l *Loader) read(name string) (raw registry.Raw, stamps []plan.Stamp, err error) {
	for range racyTries {
		// The stamps come first: what changes after them makes the plan stale.
		if stamps = l.stamps(name); waitRacy(stamps) {
			continue
		}
		// Those of shipped files come with their bytes.
		if raw, err = l.place.Read(name); registry.Torn(err) {
			time.Sleep(racy)
		} else if !waitRacy(raw.Stamps) {
			return raw, stamps, err
		}
	}
	// It changes all the time. No plan of it is fresh: nothing has this stamp.
	raw, err = l.place.Read(name)
	return raw, append(l.stamps(name), plan.Stamp{Path: l.place.Path}), err
}
