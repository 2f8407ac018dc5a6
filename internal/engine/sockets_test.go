package engine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sbx-project/sbx/policy"
)

// TestUnixBesideTrees: Unix sockets are refused beside whatever directory of
// the host a policy shows by any key, whatever it is called, and are there
// beside what holds no socket file or names it.
func TestUnixBesideTrees(t *testing.T) {
	facts := map[string]PathFact{
		"/usr/share/out": {Directory, "/srv/out"}, "/usr/share/in": {Directory, "/usr/lib/in"}, "/srv/usr": {Directory, "/usr/share/doc"},
		"/usrlocal": {Directory, "/usrlocal"}, "/run/db.sock": {SocketFile, "/run/db.sock"}, "/usr/local": {Directory, "/usr/local"},
		"/store/b/plugins": {Directory, "/store/b/plugins"}, "/store/b/link": {Directory, "/srv/in"}, "/store/bb": {Directory, "/store/bb"},
		"/opt/bin/tool": {RegularFile, "/opt/bin/tool"},
	}
	bundle := func(in *Input) { in.BundleDir = "/store/b" }
	for _, tt := range []struct {
		name, filesystem string
		change           func(*Input)
		refused          string // the path named and its key; empty: allowed
	}{
		{"nothing", `{}`, nil, ""},
		{"read", `{read: [/srv/in]}`, nil, `"/srv/in" of filesystem.read`},
		{"read, optional", `{read: [-/srv/in]}`, nil, `"/srv/in" of filesystem.read`},
		{"read, as owner", `{read: [{path: /srv/in, as: owner}]}`, nil, `"/srv/in" of filesystem.read`},
		{"write", `{write: [/srv/in]}`, nil, `"/srv/in" of filesystem.write`},
		{"exec", `{exec: [/opt/tool]}`, nil, `"/opt/tool" of filesystem.exec`},
		{"exec beside the view", `{exec: [view, /opt/tool]}`, nil, `"/opt/tool" of filesystem.exec`},
		{"exec of the view", `{exec: [view]}`, nil, ""},
		{"exec of a program", `{exec: [/opt/bin/tool]}`, nil, ""},
		{"the caller's, read", `{read: ["{{cwd}}"]}`, nil, `"{{cwd}}" of filesystem.read`},
		{"the caller's, written", `{write: ["{{cwd}}"]}`, nil, `"{{cwd}}" of filesystem.write`},
		{"the host's /etc", `{read: [/etc/ssl/certs]}`, nil, `"/etc/ssl/certs"`},
		{"below /usr", `{read: [/usr/share/doc], exec: [/usr/lib/plugins]}`, nil, ""},
		{"called /usr, elsewhere, read", `{read: [/usr/share/out]}`, nil, `"/usr/share/out" of filesystem.read`},
		{"called /usr, elsewhere, exec", `{exec: [/usr/share/out]}`, nil, `"/usr/share/out" of filesystem.exec`},
		{"called otherwise, below /usr", `{read: [/srv/usr, /usr/share/in]}`, nil, ""},
		{"called almost /usr", `{read: [/usrlocal]}`, nil, `"/usrlocal"`},
		{"written below /usr", `{write: [/usr/local]}`, nil, `"/usr/local" of filesystem.write`},
		{"absent", `{read: [-/absent], exec: [-/absent2]}`, nil, ""},
		{"a file", `{read: [/srv/in/secret]}`, nil, ""},
		{"the socket file", `{read: [/run/db.sock]}`, nil, ""},
		{"the socket file beside a tree", `{read: [/run/db.sock, /srv/in]}`, nil, `"/srv/in"`},
		{"of the bundle", `{exec: ["{{bundle}}/plugins"]}`, bundle, ""},
		{"of the bundle, by its path", `{read: [/store/b/plugins]}`, bundle, ""},
		{"out of the bundle", `{read: ["{{bundle}}/link"]}`, bundle, `"{{bundle}}/link"`},
		{"beside the bundle", `{read: [/store/bb]}`, bundle, `"/store/bb"`},
		{"called the bundle's, without one", `{read: [/store/b/plugins]}`, nil, `"/store/b/plugins"`},
		{"a path parameter", `{}`, pathParameter, "the path parameter in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := merged(t, "sockets: [unix]\nfilesystem: "+tt.filesystem)
			for p, f := range facts {
				in.Host.Paths[p] = f
			}
			if tt.change != nil {
				tt.change(&in)
			}
			if tt.refused == "" {
				if _, err := Compile(in); err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			_, err := Ruleset(in)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Ruleset = %v, want an *Error", err)
			}
			if !strings.Contains(e.Error(), "sockets: unix beside") || !strings.Contains(e.Error(), tt.refused) || e.Status != StatusSetup ||
				e.Pos.Line == 0 || !strings.Contains(e.Hint, "filesystem.read") || errors.Is(err, policy.ErrNotBuilt) {
				t.Errorf("got %d %q, hint %q", e.Status, e, e.Hint)
			}
			// Without the family the trees are no matter.
			in.Policy.Sockets = nil
			if _, err := Ruleset(in); err != nil {
				t.Errorf("without sockets: %v", err)
			}
		})
	}
}

// TestUnixBesideLink: what is gathered of a real host tells a link below /usr
// from what is there.
func TestUnixBesideLink(t *testing.T) {
	dir := t.TempDir()
	real := filepath.Join(dir, "real")
	if err := os.Mkdir(real, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "usr")
	if err := os.Symlink("/usr/share", link); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(real, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]bool{real: false, filepath.Join(real, "s"): true, link: true} {
		h := Host{Paths: map[string]PathFact{}, Ways: map[string][]string{}}
		if err := h.look(path, policy.Pos{}); err != nil {
			t.Fatal(err)
		}
		in := Input{Policy: resolved(t, "{sockets: [unix], filesystem: {read: ["+path+"]}}"), Host: h}
		if _, err := families(&in); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", path, err, want)
		}
	}
}
