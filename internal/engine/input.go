package engine

import (
	"github.com/sbx-project/sbx/internal/elfclosure"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/policy"
)

// Input is everything that Compile looks at. It is plain data; Compile does
// not change it and keeps no part of it.
type Input struct {
	// Build and BootID go into the plan as they are.
	Build, BootID string
	// Command, Version, Revision and Generation go into the plan as they
	// are; empty and 0 for an unregistered program.
	Command, Version, Revision string
	Generation                 uint64
	// Arch is amd64 or arm64.
	Arch string
	// Policy is resolved: nothing is left to extend.
	Policy policy.Policy
	// Features are those of the host.
	Features feature.Set
	// Needs are features that the manifest requires, by name.
	Needs []string
	// Program is what is executed.
	Program Program
	// Args are the manifest's arguments after argv[0], with templates;
	// {{bundle}} stands for [InsideBundle].
	Args []string
	// Declared, Params and Summary go into the plan as they are.
	Declared bool
	Params   []plan.Param
	Summary  string
	// BundleDir is the host directory shown at InsideBundle; empty: none.
	BundleDir string
	// User is whose host ids a run has, found on the host; the plan gets it as
	// it is.
	User plan.User
	// Configured goes into the plan as it is, and Require is added to what the
	// policy requires: both are of the host's configuration.
	Configured plan.Host
	Require    []string
	// Host holds what was seen of the host's files.
	Host Host
	// Stamps are further files that the plan depends on: the bundle's, the
	// policy's.
	Stamps []plan.Stamp
}

// Program is the registered program.
type Program struct {
	// Path is the real host path of the ELF file that is executed.
	Path string
	// Identity is its stamp; Identity.Path is Path.
	Identity plan.Stamp
	// Links are the names that led to the program, its script or its
	// interpreter through a symbolic link: when one leads elsewhere, the
	// plan is stale.
	Links []plan.Stamp
	// Argv0 is argv[0] of a program that is no script.
	Argv0 string
	// Script is set when the program is a `#!` file: then Path is its
	// interpreter.
	Script *Script
	// Closure is what the loader maps.
	Closure elfclosure.Closure
}

// Script is a `#!` file.
type Script struct {
	// Path is its real host path.
	Path string
	// Stamp is its identity.
	Stamp plan.Stamp
	// Interpreter is argv[0]: the interpreter as written, or for env(1) its
	// name as given.
	Interpreter string
	// Args follow argv[0]: what stands behind the interpreter, at most one
	// but for `env -S`.
	Args []string
}

// Kind is what a path of the host is.
type Kind uint8

// The kinds of paths. The zero value is a path that does not exist.
const (
	Absent Kind = iota
	RegularFile
	Directory
	SocketFile
	CharDevice
	// OtherFile is a fifo or a block device.
	OtherFile
)

// PathFact is what was seen at a path of the host.
type PathFact struct {
	Kind Kind
	// Real is the path with all symbolic links followed; empty when Absent.
	Real string
}

// ExecFact is what was seen at an entry of filesystem.exec.
type ExecFact struct {
	// Program is set when the entry is, or its tree holds, something that
	// execve(2) can start.
	Program bool
	// Closure is what the loader maps for its ELF files.
	Closure elfclosure.Closure
}

// Link is a top-level name of the host's merged or unmerged /usr.
type Link struct {
	// Path is /bin, /sbin, /lib, ...
	Path string
	// Target is the symbolic link's text; empty for a directory.
	Target string
}

// Host holds facts about files, gathered before.
type Host struct {
	// Links are those of /bin /sbin /lib /lib64 /lib32 /libx32 that exist,
	// sorted.
	Links []Link
	// Paths holds a fact for every path that the policy names, with
	// {{bundle}} replaced, and for the mount points of its tmpfs entries.
	Paths map[string]PathFact
	// Ways holds, for those of Paths that lead through symbolic links, the
	// real places of these links in order; of an absent path the last entry
	// is where it would be.
	Ways map[string][]string
	// Exec holds a fact for every path of filesystem.exec.
	Exec map[string]ExecFact
	// LoaderCache is set when /etc/ld.so.cache exists.
	LoaderCache bool
	// Alternatives is set when the loader's way to a library of the closure
	// leads through /etc/alternatives, and AlternativesExist when that
	// directory exists.
	Alternatives, AlternativesExist bool
	// Stamps of files that the facts depend on.
	Stamps []plan.Stamp
}

func (h Host) fact(path string) PathFact { return h.Paths[path] }
