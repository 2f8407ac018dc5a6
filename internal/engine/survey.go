package engine

import (
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/plan"
)

// Survey is one look at what all requests of one load have in common: the
// boot, the loader's cache, the host's configuration, and programs that many
// of them name. What it has seen it does not look at again, so it lives as long
// as one load. A plan that is made by it has the stamps of what was seen, none
// of them younger: what changes meanwhile makes the plan stale. The zero value
// has seen nothing. It is safe for concurrent use.
type Survey struct {
	host   sync.Once
	boot   string
	libs   elfclosure.Resolver
	cache  plan.Stamp // of pathCache; without Path there is none
	failed *Error     // why there is nothing of the above

	read   sync.Once
	config config.Config
	bad    error // why there is no config

	mu       sync.Mutex
	programs map[programKey]Program
}

// programKey is what a program outside of a bundle is found and judged by.
type programKey struct {
	path, sha256, argv0, search, libraries string
	denyWX                                 bool
}

// maxPrograms bounds how many programs are remembered. One has some 2 KiB; a
// registry's commands execute some hundred.
const maxPrograms = 4096

// look looks at the host, once.
func (s *Survey) look() *Error {
	s.host.Do(func() {
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			s.failed = &Error{Status: StatusSetup, Msg: "read the boot id", Err: err}
			return
		}
		s.boot = strings.TrimSpace(string(boot))
		// The stamp comes first: a cache that is written after it makes the plan
		// stale.
		stamp, stampErr := Stamp(pathCache)
		libs, err := elfclosure.New()
		if err != nil {
			s.failed = &Error{Status: StatusSetup, Msg: "read the loader's cache", Err: err}
			return
		}
		s.libs = *libs
		if stampErr == nil {
			s.cache = stamp
		} else {
			s.libs.Cache = nil // it came after the look
		}
	})
	return s.failed
}

// configuration is the host's, read once.
func (s *Survey) configuration() (config.Config, error) {
	s.read.Do(func() { s.config, s.bad = config.Load() })
	return s.config, s.bad
}

// program is [program], remembered. Not so those of a bundle, which nobody else
// names, and those with libraries of their own, whose stamps are taken beside
// the closure.
func (s *Survey) program(r Request, bundleDir string, res *elfclosure.Resolver) (Program, error) {
	if bundleDir != "" {
		return program(r, bundleDir, res)
	}
	key := programKey{
		path: r.Path, sha256: r.SHA256, argv0: r.Argv0, denyWX: denyWriteExecute(&r.Policy),
		libraries: strings.Join(res.LibraryPath, ":"),
	}
	if path, ok := r.Policy.Env.Set["PATH"]; ok {
		key.search = "=" + path // an empty one is not the default
	}
	s.mu.Lock()
	p, ok := s.programs[key]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	p, err := program(r, bundleDir, res)
	if err != nil || slices.ContainsFunc(p.Closure.Libs, func(l elfclosure.File) bool { return l.Private }) {
		return p, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs == nil || len(s.programs) >= maxPrograms {
		s.programs = map[programKey]Program{}
	}
	s.programs[key] = p
	return p, nil
}
