package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// shipped writes a directory bundle of a version whose command waits for a
// line and then shows the file that it ships, which holds the version.
func (h *host) shipped(t testing.TB, name, version string) {
	t.Helper()
	h.mkdir(t, "registry/"+name)
	manifest := fmt.Sprintf("apiVersion: sbx/v1\nname: %s\nversion: %s\nexec: {path: /bin/sh, args: declared, argv: [-c, 'echo ready; read x; cat /sbx/bundle/data']}\n"+
		"policy: {filesystem: {exec: [view]}}\n", name, version)
	for _, f := range []struct{ file, text string }{{"data", version + "\n"}, {"bundle.yaml", manifest}} {
		h.write(t, "registry/"+name+"/.new", f.text, 0o644)
		if err := os.Rename(h.path("registry/"+name+"/.new"), h.path("registry/"+name+"/"+f.file)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRunKeepsItsBundle: what a run of the daemon is shown of its bundle is
// there until it ends, however many revisions come and go meanwhile; then it
// is collected.
func TestRunKeepsItsBundle(t *testing.T) {
	needPrograms(t, "/bin/sh")
	each(t, func(t *testing.T, h *host) {
		testenv.NoLeaks(t)
		h.shipped(t, "tool", "1.0.0")
		h.serve(t)
		ctx, cancel := context.WithTimeout(context.Background(), patience())
		defer cancel()
		cmd, file := h.command(ctx, h.both(false, call{words: []string{"tool"}}))
		in, err := cmd.StdinPipe()
		check(t, err)
		out, err := cmd.StdoutPipe()
		check(t, err)
		var said bytes.Buffer
		cmd.Stderr = &said
		check(t, cmd.Start())
		ready := make([]byte, len("ready\n"))
		if _, err := io.ReadFull(out, ready); err != nil {
			cmd.Wait()
			t.Fatalf("%v: %s", err, said.String())
		}
		// More than there are generations in the chain, twice over.
		const reloads = 40
		for n := range reloads {
			version := fmt.Sprintf("1.%d.0", n+1)
			h.shipped(t, "tool", version)
			for end := time.Now().Add(patience()); ; {
				r := h.run(t, h.both(false, call{words: []string{"tool"}, stdin: strings.NewReader("\n")}))
				wantEnd(t, r, 0, "ok")
				// Manifest and file are two changes: both are seen whole.
				if r.report.Version == version && r.stdout == "ready\n"+version+"\n" {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s does not come in force\n%s\nstatus of the daemon: %s", version, r, h.operator(t, "status"))
				}
			}
		}
		io.WriteString(in, "\n")
		in.Close()
		text, err := io.ReadAll(out)
		check(t, err)
		if err := cmd.Wait(); err != nil || string(text) != "1.0.0\n" {
			t.Errorf("after %d reloads the run reads %q of its bundle, %v\n%s", reloads, text, err, said.String())
		}
		rep, err := readReport(file)
		check(t, err)
		if rep.Version != "1.0.0" || rep.Via != "daemon" {
			t.Errorf("version %q, via %q", rep.Version, rep.Via)
		}
		stored := h.storedBundles(t)
		if !stored[rep.Revision] {
			t.Fatalf("the run's bundle is not kept: %v", stored)
		}
		// Nobody uses it any more: the next collection takes it.
		for n := range 8 {
			version := fmt.Sprintf("2.%d.0", n)
			h.shipped(t, "tool", version)
			for end := time.Now().Add(patience()); h.run(t, h.both(false, call{words: []string{"tool"}, stdin: strings.NewReader("\n")})).report.Version != version; {
				if time.Now().After(end) {
					t.Fatalf("%s does not come in force\nstatus of the daemon: %s", version, h.operator(t, "status"))
				}
			}
		}
		if h.storedBundles(t)[rep.Revision] {
			t.Error("the bundle is kept after its last run has ended")
		}
	})
}

// storedBundles are the digests of what the state of the registry stores.
func (h *host) storedBundles(t testing.TB) map[string]bool {
	t.Helper()
	found, err := filepath.Glob(h.path("state") + "/*/bundles/*")
	check(t, err)
	digests := map[string]bool{}
	for _, path := range found {
		digests["sha256:"+filepath.Base(path)] = true
	}
	return digests
}
