package plan

import "slices"

// Rlimit is one setrlimit(2) call. It is an upper bound: where the launcher may
// not have as much itself, the run has what the launcher may have.
type Rlimit struct {
	Resource uint32
	Value    uint64
	// Required: where the launcher may not have as much the run is refused.
	Required bool
}

// resources are the names of getrlimit(2) in lower case without RLIMIT_, by
// their numbers, which amd64 and arm64 share (asm-generic/resource.h).
var resources = [...]string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue", "nice", "rtprio", "rttime",
}

// Key is the name that policies give the limit: rlimit_nofile.
func (r Rlimit) Key() string {
	if int(r.Resource) >= len(resources) {
		return "rlimit"
	}
	return "rlimit_" + resources[r.Resource]
}

// Resource returns the number of a resource of getrlimit(2), written in lower
// case without RLIMIT_.
func Resource(name string) (uint32, bool) {
	i := slices.Index(resources[:], name)
	return uint32(max(i, 0)), i >= 0
}
