package engine

import (
	"slices"

	"github.com/sbx-project/sbx/policy"
)

// families returns the address families that socket(2) may make, sorted.
func families(in *Input) ([]uint32, error) {
	p := &in.Policy
	var out []uint32
	if p.Network.Mode == "loopback" {
		out = append(out, afInet, afInet6)
	}
	for _, name := range p.Sockets {
		n, ok := policy.Family(name)
		if !ok {
			return nil, refuse(p.Places.Of("sockets "+name), policy.OneOf(name, policy.FamilyNames()), "sockets: unknown address family %q", name)
		}
		if n == afUnix {
			if err := unixAllowed(in); err != nil {
				return nil, err
			}
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// unixAllowed refuses Unix sockets beside trees of the host: a read-only bind
// does not keep a program from connecting to a socket file in it (CONTAINMENT
// 9), nor does anything else that works on the kernels that sbx runs on.
//
// Trust boundary. Who controls the input: the author of the policy names
// directories; whoever may write to them makes socket files there, before the
// run and while it goes on. What privilege is held: the run's own ids may be a
// user's whom services trust. What has been checked: the facts are of the real
// paths. What fails closed: any directory of read, write or exec whose real
// path is not below the system's own /usr, which only root changes, nor in
// the stored bundle, which has regular files only; a path's name says nothing,
// and what is writable is refused wherever it is. A socket file that the policy
// names itself is meant.
func unixAllowed(in *Input) error {
	fs := &in.Policy.Filesystem
	const hint = "name the socket files themselves in filesystem.read, or take sockets: [unix] out"
	for _, list := range []struct {
		what  string
		rules []policy.PathRule
	}{{"read", fs.Read}, {"write", fs.Write}, {"exec", fs.Exec}} {
		for _, r := range list.rules {
			if r.Path == policy.View {
				continue // makes what is shown executable, and shows nothing
			}
			f := in.Host.fact(in.real(r.Path))
			fixed := within(f.Real, "/usr") || in.BundleDir != "" && within(f.Real, in.BundleDir)
			if r.Path == policy.Cwd || f.Kind == Directory && (list.what == "write" || !fixed) {
				return refuse(r.Pos, hint, "sockets: unix beside the directory %q of filesystem.%s: socket files in it could be connected to", r.Path, list.what)
			}
		}
	}
	if name := pathParam(in.Params); name != "" {
		return refuse(in.place("sockets unix"), hint, "sockets: unix beside the path parameter %s: socket files in its tree could be connected to", name)
	}
	return nil
}

// Families returns the names of the address families that socket(2) may make,
// sorted.
func Families(in Input) ([]string, error) {
	numbers, err := families(&in)
	var out []string
	for _, name := range policy.FamilyNames() {
		if n, _ := policy.Family(name); slices.Contains(numbers, n) {
			out = append(out, name)
		}
	}
	return out, err
}
