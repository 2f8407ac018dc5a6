package loader

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/registry"
)

// restless is a registry whose bundles are being replaced for the next reads.
type restless struct {
	registry.Source
	torn  int
	cause error
}

func (r *restless) Read(name string) (registry.Raw, error) {
	if r.torn > 0 {
		r.torn--
		return registry.Raw{}, fmt.Errorf("load %q: %w", name, r.cause)
	}
	return r.Source.Read(name)
}

// TestTorn: a bundle that is being replaced while it is read is none that was
// rejected. A look waits for it a little; what is in force stays, nothing is
// recorded, and a later look finds what is there then. One that never rests is
// rejected in the end, once.
func TestTorn(t *testing.T) {
	s := newShop(t)
	s.put("tool", "1.0.0")
	if got, _, _ := s.inForce("tool"); got != "tool 1.0.0" {
		t.Fatalf("in force: %s", got)
	}
	s.put("tool", "2.0.0")
	source := &restless{Source: s.place.Source, cause: registry.ErrChanged}
	place := s.place
	place.Source = source
	var events []Event
	l, err := OpenFor(place, Options{Registries: []string{place.Path}, Notify: func(e []Event) { events = append(events, e...) }})
	s.must(err)
	defer l.Close()
	load := func(torn int, cause error) *Result {
		t.Helper()
		source.torn, source.cause = torn, cause
		results, err := l.Load("tool")
		s.must(err)
		return results["tool"]
	}
	version := func() string {
		rev, _ := l.Snapshot().Commands["tool"].Current()
		return rev.Version
	}

	for _, cause := range []error{registry.ErrChanged, unix.ESTALE} {
		r := load(1000, cause)
		if rejected := (*RejectedError)(nil); !registry.Torn(r.Err) || !errors.As(r.Err, &rejected) || r.Plan == nil || r.Plan.Version != "1.0.0" {
			t.Fatalf("%v: %+v", cause, r)
		}
		if version() != "1.0.0" || len(events) > 0 {
			t.Errorf("%v: in force %s, events %v", cause, version(), events)
		}
	}
	for range 2 * maxTorn {
		load(1000, registry.ErrChanged)
	}
	if len(events) != 1 || events[0].Kind != Rejected || version() != "1.0.0" {
		t.Errorf("one that never rests: in force %s, events %v", version(), events)
	}
	events = nil
	if r := load(racyTries-1, registry.ErrChanged); r.Err != nil || version() != "2.0.0" || len(events) != 1 || events[0].Kind != Replaced {
		t.Errorf("after a moment: %v, in force %s, events %v", r.Err, version(), events)
	}
	if r := load(1000, errors.New("disk is gone")); registry.Torn(r.Err) || len(events) != 2 || events[1].Kind != Rejected {
		t.Errorf("another error: %v, events %v", r.Err, events)
	}
}
