package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/nsexec"
	"github.com/sbx-project/sbx/policy"
)

var (
	// seen is a view without holes.
	seen = []plan.Step{{Kind: plan.Tree, Path: "/usr"}, {Kind: plan.Tmpfs, Path: "/tmp"}}
	once = []uint16{1, 2, 3, 4, 5, 6}
)

// aRun is a run as it is when bound asks what is required: with everything, but
// for what change takes.
func aRun(change func(*run)) *run {
	r := &run{
		Options: Options{Plan: &plan.Plan{View: seen, Filter: plan.Filter{ExecOnce: once}, DenyWriteExecute: true}, Audited: true},
		report:  &Report{}, owners: []owner{{UID: 7}},
	}
	r.config.Identity.Mode = nsexec.LateUserNS
	for _, name := range []string{"identity", "cgroup", "cgroup.memory", "cgroup.pids", "cgroup.cpu", "cgroup.io"} {
		r.layer(name, Applied, "")
	}
	if change != nil {
		change(r)
	}
	return r
}

// drop takes a layer out of the report.
func drop(name string) func(*run) {
	return func(r *run) {
		r.report.Layers = slices.DeleteFunc(r.report.Layers, func(l Layer) bool { return l.Name == name })
	}
}

func degrade(name string) func(*run) {
	return func(r *run) { drop(name)(r); r.layer(name, Degraded, "as a test says") }
}

func view(steps ...plan.Step) func(*run) { return func(r *run) { r.Plan.View = steps } }

// states of the layers that a report would have after a launch.
func states(r *run, bits uint64) map[string]LayerState {
	m := map[string]LayerState{}
	for _, l := range append(slices.Clone(r.report.Layers), r.launched(bits)...) {
		m[l.Name] = l.State
	}
	return m
}

// TestLayers: what a report says of each layer, by what the plan asks for, the
// mode of the ids, what the view shows and what the launch lacked.
func TestLayers(t *testing.T) {
	const none = LayerState("")
	tmp := plan.Step{Kind: plan.Tmpfs, Path: "/tmp"}
	mode := func(m nsexec.Mode) func(*run) { return func(r *run) { r.config.Identity.Mode = m } }
	for _, tt := range []struct {
		name   string
		change func(*run)
		bits   uint64
		want   map[string]LayerState // but for applied
	}{
		{"everything", nil, 0, nil},
		{"ids of the launcher", mode(nsexec.OwnUser), 0, nil},
		{"no user namespaces", mode(nsexec.NoUserNS), 0, map[string]LayerState{"userns": Degraded, "userns.limit": none}},
		{"no user namespaces, and no limit", mode(nsexec.NoUserNS), nsexec.DegradedUserMax, map[string]LayerState{"userns": Degraded, "userns.limit": none}},
		{"more is executed", func(r *run) { r.Plan.Filter.ExecOnce = nil }, 0, map[string]LayerState{"exec-once": none}},
		{"writable and executable memory", func(r *run) { r.Plan.DenyWriteExecute = false }, 0, map[string]LayerState{"mdwe": none}},
		{"the same on an old kernel", func(r *run) { r.Plan.DenyWriteExecute = false }, nsexec.DegradedMDWE, map[string]LayerState{"mdwe": none}},
		{"nothing mapped", func(r *run) { r.owners = nil }, 0, map[string]LayerState{"idmap": none}},
		{"nobody records", func(r *run) { r.Audited = false }, 0, map[string]LayerState{"audit": Degraded}},
		{"no time namespaces", nil, nsexec.DegradedTime, map[string]LayerState{"timens": Degraded}},
		{"no keyrings", nil, nsexec.DegradedKeyring, map[string]LayerState{"keyring": Degraded}},
		{"no PR_SET_MDWE", nil, nsexec.DegradedMDWE, map[string]LayerState{"mdwe": Degraded}},
		{"no limit of namespaces", nil, nsexec.DegradedUserMax, map[string]LayerState{"userns.limit": Degraded}},
		{"no Landlock", nil, nsexec.DegradedLandlock, map[string]LayerState{"landlock": Degraded, "fifos": Degraded}},
		{"nothing optional", nil, nsexec.DegradedTime | nsexec.DegradedKeyring | nsexec.DegradedMDWE | nsexec.DegradedUserMax | nsexec.DegradedLandlock, map[string]LayerState{
			"timens": Degraded, "keyring": Degraded, "mdwe": Degraded, "userns.limit": Degraded, "landlock": Degraded, "fifos": Degraded}},
		{"a tree below a tmpfs", view(tmp, plan.Step{Kind: plan.Tree, Path: "/tmp/in"}), 0, map[string]LayerState{"fifos": Degraded}},
		{"a tree below a writable one", view(plan.Step{Kind: plan.Tree, Path: "/srv", Flags: plan.Writable}, plan.Step{Kind: plan.Tree, Path: "/srv/in"}), 0, map[string]LayerState{"fifos": Degraded}},
		{"the caller's directory below a tmpfs", func(r *run) { r.Cwd = "/tmp/work"; view(tmp, plan.Step{Kind: plan.Tree, Flags: plan.SourceCwd})(r) }, 0, map[string]LayerState{"fifos": Degraded}},
		{"the caller's directory elsewhere", func(r *run) { r.Cwd = "/srv/work"; view(tmp, plan.Step{Kind: plan.Tree, Flags: plan.SourceCwd})(r) }, 0, nil},
		{"a writable directory of the caller's", func(r *run) {
			r.Cwd = "/tmp/work"
			view(tmp, plan.Step{Kind: plan.Tree, Flags: plan.SourceCwd | plan.Writable})(r)
		}, 0, nil},
		{"no view", view(), 0, nil},
		{"no control group", degrade("cgroup"), 0, map[string]LayerState{"cgroup": Degraded}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := map[string]LayerState{}
			for _, name := range policy.Layers() {
				s, ok := tt.want[name]
				if !ok {
					s = Applied
				}
				if s != none {
					want[name] = s
				}
			}
			r := aRun(tt.change)
			if d := cmp.Diff(want, states(r, tt.bits)); d != "" {
				t.Errorf("layers (-want +got):\n%s", d)
			}
			for _, l := range append(slices.Clone(r.report.Layers), r.launched(tt.bits)...) {
				if (l.Why == "") != (l.State == Applied) {
					t.Errorf("%s is %s because of %q", l.Name, l.State, l.Why)
				}
			}
		})
	}
}

// TestRequired: a policy that requires a layer runs only where the report will
// have it as applied; what the launch applies itself fails there.
func TestRequired(t *testing.T) {
	names := append(policy.Layers(), "no-such-layer")
	for what, change := range map[string]func(*run){
		"everything":         nil,
		"user":               func(r *run) { r.config.Identity.Mode = nsexec.OwnUser; degrade("identity")(r); drop("cgroup.io")(r) },
		"no userns":          func(r *run) { r.config.Identity.Mode = nsexec.NoUserNS; r.owners = nil },
		"exec":               func(r *run) { r.Plan.Filter.ExecOnce = nil },
		"mdwe":               func(r *run) { r.Plan.DenyWriteExecute = false },
		"idmap":              func(r *run) { r.owners = nil },
		"audit":              func(r *run) { r.Audited = false },
		"hole":               view(plan.Step{Kind: plan.Tmpfs, Path: "/tmp"}, plan.Step{Kind: plan.Tree, Path: "/tmp/in"}),
		"cgroup":             degrade("cgroup.memory"),
		"no limits":          func(r *run) { drop("cgroup.memory")(r); drop("cgroup.cpu")(r); drop("cgroup.pids")(r) },
		"swap only degraded": func(r *run) { r.layer("cgroup.memory", Degraded, "swap is not counted") },
	} {
		for _, name := range names {
			r := aRun(change)
			applied := states(r, 0)[name] == Applied
			subject := name != "idmap" && !strings.HasPrefix(name, "cgroup.") || states(r, 0)[name] != "" || r.config.Identity.Mode == nsexec.NoUserNS && name == "idmap"

			r.Plan.Require = []string{name}
			if got := r.required(); got != applied {
				t.Errorf("%s: require %s = %v; want %v: %v", what, name, got, applied, r.report.Err)
			} else if !got {
				refused(t, what, name, r)
			}
			host := aRun(change)
			host.Plan.Host.Require = []string{name}
			if got, want := host.required(), applied || !subject; got != want {
				t.Errorf("%s: the host requires %s = %v; want %v: %v", what, name, got, want, host.report.Err)
			}
			both := aRun(change)
			both.Plan.Require, both.Plan.Host.Require = []string{"seccomp", name}, []string{name, "seccomp"}
			if got := both.required(); got != applied {
				t.Errorf("%s: both require %s = %v; want %v", what, name, got, applied)
			}
		}
	}
}

func refused(t *testing.T, what, name string, r *run) {
	t.Helper()
	rep := r.report
	if rep.ExitCode != StatusSetup || rep.Outcome != Refused || rep.Step != "require "+name || rep.Err == nil {
		t.Errorf("%s: %s: %d %s %q %v", what, name, rep.ExitCode, rep.Outcome, rep.Step, rep.Err)
	}
	if !slices.ContainsFunc(rep.Layers, func(l Layer) bool { return l.Name == name && l.State == NotHeld && l.Why != "" }) {
		t.Errorf("%s: %s is not in the report as refused: %v", what, name, rep.Layers)
	}
}

// TestRequiredByLaunch: what the kernel may lack fails the launch where it is
// required, and only there.
func TestRequiredByLaunch(t *testing.T) {
	want := map[string]uint64{
		"timens": nsexec.DegradedTime, "keyring": nsexec.DegradedKeyring, "mdwe": nsexec.DegradedMDWE,
		"landlock": nsexec.DegradedLandlock, "fifos": nsexec.DegradedLandlock, "userns.limit": nsexec.DegradedUserMax,
	}
	for _, name := range policy.Layers() {
		for _, host := range []bool{false, true} {
			r := aRun(nil)
			list := &r.Plan.Require
			if host {
				list = &r.Plan.Host.Require
			}
			if *list = []string{name}; !r.required() || r.config.Strict != want[name] {
				t.Errorf("%s (host %v): strict %#x, want %#x: %v", name, host, r.config.Strict, want[name], r.report.Err)
			}
		}
	}
	if r := aRun(nil); !r.required() || r.config.Strict != 0 {
		t.Errorf("nothing required: strict %#x", r.config.Strict)
	}
}
