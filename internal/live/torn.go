package live

import (
	"maps"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/watch"
)

// tornTries is how often a reload looks again at what is being replaced while it
// looks, each time after the settle time: a second with the default one. More
// than loader.maxTorn together with the first look, so that what never rests has
// an answer too.
const tornTries = 20

// reloadWhole is reload, and again for what was being replaced meanwhile.
func (s *source) reloadWhole() (map[string]*loader.Result, error) {
	results, err := s.reload()
	for range tornTries {
		var names []string
		for name, r := range results {
			if registry.Torn(r.Err) {
				names = append(names, name)
			}
		}
		if err != nil || len(names) == 0 {
			break
		}
		select {
		case <-s.set.stop:
			return results, nil
		case <-time.After(s.settleTime()):
		}
		var again map[string]*loader.Result
		again, err = s.loadNames(names)
		maps.Copy(results, again)
	}
	return results, err
}

// settleTime is how long a file must be left alone before it is looked at.
func (s *source) settleTime() time.Duration {
	if t := s.set.options.Settle; t != 0 {
		return t
	}
	return watch.DefaultSettle
}
