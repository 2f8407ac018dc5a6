// Package loader goes from what a person typed to a plan: it finds the
// bundle in the registries, resolves its policy, has the engine compile it
// and keeps the plan in the state directory. Use [Run] for a registered
// command and [Exec] for a program under a policy.
package loader

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/engine"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/yamlnode"
	"github.com/sbx-project/sbx/policy"
	"github.com/sbx-project/sbx/registry"
)

// Place is one registry in the order of precedence.
type Place struct {
	registry.Source
	// Path is the directory; empty for the built-in registry.
	Path string
	// Key names its part of the state directory.
	Key string
}

// RejectedError says that a bundle was found and is not accepted: exit
// status 126, unless what it asks for is not built yet.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *RejectedError) Unwrap() error { return e.Err }

// Open opens the registries that apply (ctl.Registries) and the built-in one
// after them. A directory of the default list that does not exist is left
// out; one that was named must exist.
func Open(flag string) ([]Place, error) {
	var places []Place
	named := flag != "" || os.Getenv("SBX_REGISTRY") != ""
	for _, path := range ctl.Registries(flag) {
		d, err := registry.OpenDir(path)
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Stat(d.Path(), &st); err != nil {
			return nil, &fs.PathError{Op: "stat", Path: d.Path(), Err: err}
		}
		places = append(places, Place{Source: d, Path: d.Path(), Key: state.RegistryKey(&st)})
	}
	return append(places, Place{Source: registry.Builtin(), Key: state.BuiltinKey}), nil
}

// Find turns words into a bundle: the first registry that knows the first
// word decides. used is how many words name the command.
func Find(places []Place, words []string) (b registry.Bundle, in Place, used int, err error) {
	var unknown error
	for _, p := range places {
		name, rest, err := registry.Find(p.Source, words)
		if errors.Is(err, registry.ErrNotFound) || errors.Is(err, registry.ErrGroup) {
			var u *registry.UnknownError
			if errors.As(err, &u) && (u.Group != "" || unknown == nil) {
				unknown = err
			}
			if u != nil && u.Group != "" {
				break // a group here hides what comes later
			}
			continue
		}
		if err != nil {
			return b, p, 0, err
		}
		b, err = p.Load(name)
		if err != nil {
			return b, p, 0, &RejectedError{err}
		}
		return b, p, len(words) - len(rest), nil
	}
	return b, Place{}, 0, unknown
}

// Run compiles the command that the words begin with and keeps its plan.
func Run(flag string, words []string) (p *plan.Plan, encoded []byte, used int, err error) {
	cwd, err := unix.Getwd() // not os.Getwd: the name that sbx takes, not PWD's
	if err != nil {
		cwd = ""
	}
	places, err := Open(flag)
	if err != nil {
		return nil, nil, 0, err
	}
	b, place, used, err := Find(places, words)
	if err != nil {
		return nil, nil, 0, err
	}
	in, err := engine.ForBundle(&b, 1, buildinfo.Build, feature.Probe())
	if err != nil {
		return nil, nil, 0, located(b.File, b.Source, err)
	}
	for _, earlier := range places {
		if earlier.Path == place.Path {
			break
		}
		in.Stamps = append(in.Stamps, candidates(earlier.Path, b.Manifest.Name)...)
	}
	for _, path := range ctl.Registries(flag) {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			in.Stamps = append(in.Stamps, plan.Stamp{Path: path, Absent: true})
		}
	}
	path := state.PlanPath(state.Dir(), place.Key, b.Manifest.Name)
	if old, err := state.Read(path); err == nil {
		in.Generation = old.Generation
		if old.Revision != in.Revision {
			in.Generation++
		}
	}
	p, err = compile(in)
	if err != nil {
		return nil, nil, 0, located(b.File, b.Source, err)
	}
	p.Key, p.Registries = place.Key, ctl.RegistryList(flag, cwd)
	if encoded, err = p.Encode(); err != nil {
		return nil, nil, 0, err
	}
	keep(path, encoded)
	return p, encoded, used, nil
}

// Exec compiles a program under a policy: a file, absolute, or the name of a
// stock policy.
func Exec(policyName string, words []string) (p *plan.Plan, encoded []byte, err error) {
	cwd, _ := os.Getwd()
	req := engine.Request{Build: buildinfo.Build, Path: words[0], Argv0: words[0], Features: feature.Probe()}
	var src []byte
	req.Policy, src, req.Stamps, err = readPolicy(policyName)
	if err != nil {
		return nil, nil, err
	}
	key := ctl.ProgramKey(cwd, words[0])
	req.Revision = ctl.ExecRevision(policyName, key)
	if !strings.Contains(words[0], "/") {
		req.Stamps = append(req.Stamps, searched(req.Policy, words[0])...)
	}
	p, err = compile(req)
	if err != nil {
		return nil, nil, located(policyName, src, err)
	}
	if encoded, err = p.Encode(); err != nil {
		return nil, nil, err
	}
	keep(state.ExecPath(state.Dir(), policyName, key), encoded)
	return p, encoded, nil
}

// readPolicy reads and resolves a policy.
func readPolicy(name string) (policy.Policy, []byte, []plan.Stamp, error) {
	if !strings.HasPrefix(name, "/") {
		p, err := registry.Stock(name)
		if err == nil && name != "base" {
			p, err = policy.Resolve(p, registry.Stock)
		}
		return p, nil, nil, err
	}
	f, err := safefs.OpenTrusted(name)
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	defer f.Close()
	stamp, err := engine.Stamp(name)
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1)) // one more than Parse takes
	if err != nil {
		return policy.Policy{}, nil, nil, err
	}
	p, err := registry.ParsePolicy(name, src)
	if err == nil {
		p, err = policy.Resolve(p, registry.Stock)
	}
	return p, src, []plan.Stamp{stamp}, located(name, src, err)
}

// compile gathers and compiles.
func compile(req engine.Request) (*plan.Plan, error) {
	in, err := engine.Gather(req)
	if err != nil {
		return nil, err
	}
	return engine.Compile(in)
}

// keep stores a plan where the state can be written. Where it cannot, the
// run goes on with the plan that it has: the next one compiles again.
func keep(path string, encoded []byte) {
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		_ = state.Write(path, encoded)
	}
}

// candidates are the places of an earlier registry at which this name, or
// the same name of another kind, would hide the one that was found.
func candidates(registry, name string) []plan.Stamp {
	stamps := []plan.Stamp{stampOrAbsent(registry)}
	dir := registry
	for _, segment := range strings.Split(name, ".") {
		stamps = append(stamps, stampOrAbsent(dir+"/"+segment+".yaml"), stampOrAbsent(dir+"/"+segment))
		dir += "/" + segment
	}
	return append(stamps, stampOrAbsent(dir+"/bundle.yaml"))
}

// searched are the files before the one found in the policy's PATH.
func searched(p policy.Policy, name string) (stamps []plan.Stamp) {
	for _, dir := range filepath.SplitList(p.Env.Set["PATH"]) {
		s := stampOrAbsent(dir + "/" + name)
		if !s.Absent {
			break // it, or its identity, is in the plan
		}
		stamps = append(stamps, s)
	}
	return stamps
}

func stampOrAbsent(path string) plan.Stamp {
	s, err := engine.Stamp(path)
	if err != nil {
		return plan.Stamp{Path: path, Absent: true}
	}
	return s
}

// located gives an error of the policy its file, line and excerpt.
func located(file string, src []byte, err error) error {
	var e *engine.Error
	if errors.As(err, &e) && e.Pos != (policy.Pos{}) {
		cause := *e
		cause.Pos = policy.Pos{}
		place := yamlnode.Locate(file, src, &policy.Error{Pos: e.Pos, Msg: cause.Error(), Hint: e.Hint})
		return &engine.Error{Status: e.Status, Msg: "", Err: place, Feature: e.Feature, Hint: e.Hint}
	}
	if err == nil {
		return nil
	}
	return yamlnode.Locate(file, src, err)
}
