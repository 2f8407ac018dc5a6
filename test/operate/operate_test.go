package operate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

const dist = "../../dist"

// program is a built executable: SBX_TEST_BIN's, or built here.
func programs(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv("SBX_TEST_BIN"); dir != "" {
		return dir
	}
	dir := t.TempDir()
	for _, name := range []string{"sbx", "sbxd"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../../cmd/"+name).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v: %s", name, err, out)
		}
	}
	return dir
}

// freeAddress is an address of this host that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a program until the test's end.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Logf("%s: %v: %s", cmd.Path, err, said.String())
		}
	})
}

// patience is how long a test waits for what has to come and is promised for no
// moment: a Prometheus that starts, above all.
const patience = 3 * time.Minute

// answer asks until the answer is 200 and fits.
func answer(t *testing.T, address string, fits func([]byte) bool) []byte {
	t.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get(address)
		if err != nil {
			last = err.Error()
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == 200 && fits(b) {
			return b
		}
		last = fmt.Sprintf("%s, %v: %.500s", resp.Status, err, b)
	}
	t.Fatalf("%s: not within %v: %s", address, patience, last)
	return nil
}

// serve starts a daemon and returns the address of its TCP listener.
func serve(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd := exec.Command(filepath.Join(programs(t), "sbx"), "serve", "--web.listen", address)
	cmd.Env = append(os.Environ(), "HOME="+dir, "SBX_STATE="+dir+"/state", "SBX_RUNTIME="+dir+"/run", "XDG_CONFIG_HOME="+dir+"/config", "SBX_REGISTRY=")
	start(t, cmd)
	answer(t, "http://"+address+"/-/ready", func([]byte) bool { return true })
	return address
}

var metricName = regexp.MustCompile(`\bsbx_[a-z_]+\b`)

// absent are metrics that this host may not have.
var absent = regexp.MustCompile(`^sbx_cgroup_`)

// TestPrometheus: promtool finds nothing wrong with the metrics of a daemon,
// Prometheus scrapes them, and the rules and the dashboard ask for no other.
func TestPrometheus(t *testing.T) {
	promtool, prometheus := testenv.Program(t, "promtool"), testenv.Program(t, "prometheus")
	address := serve(t)
	text := answer(t, "http://"+address+"/metrics", func(b []byte) bool { return bytes.Contains(b, []byte("sbx_build_info")) })

	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v: %s", err, out)
	}
	for _, args := range [][]string{{"check", "rules", "sbx.rules.yml"}, {"test", "rules", "sbx.rules.test.yml"}, {"check", "config", "--syntax-only", "scrape.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dist + "/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v: %s", args, err, out)
		}
	}
	for _, file := range []string{"prometheus/sbx.rules.yml", "grafana/sbx.json"} {
		b, err := os.ReadFile(filepath.Join(dist, file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(b), -1)
		slices.Sort(names)
		if names = slices.Compact(names); len(names) < 5 {
			t.Errorf("%s asks for %v only", file, names)
		}
		for _, name := range names {
			family := strings.TrimSuffix(name, "_bucket")
			// A counter by command has no series before the first run.
			if !bytes.Contains(text, []byte("# TYPE "+family+" ")) && !absent.MatchString(name) && name != "sbx_runs_total" {
				t.Errorf("%s asks for %s, which the daemon does not have", file, name)
			}
		}
	}
	var dashboard map[string]any
	if b, err := os.ReadFile(dist + "/grafana/sbx.json"); err != nil || json.Unmarshal(b, &dashboard) != nil {
		t.Errorf("the dashboard is no JSON: %v", err)
	}

	dir := t.TempDir()
	config := strings.ReplaceAll(mustRead(t, dist+"/prometheus/scrape.yml"), "127.0.0.1:9810", address)
	rules, err := filepath.Abs(dist + "/prometheus/sbx.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [" + rules + "]\n" + config
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	own := freeAddress(t)
	start(t, exec.Command(prometheus, "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address="+own))
	ask := func(query, want string) {
		t.Helper()
		answer(t, "http://"+own+"/api/v1/query?query="+url.QueryEscape(query), func(b []byte) bool { return bytes.Contains(b, []byte(want)) })
	}
	ask(`up{job="sbx"}`, `"1"]`)
	ask(`sbx_audit_writable`, `"1"]`)
	ask(`sum(sbx_revisions)`, `"value"`)
	answer(t, "http://"+own+"/api/v1/rules", func(b []byte) bool {
		return bytes.Count(b, []byte(`"health":"ok"`)) == 8 && !bytes.Contains(b, []byte(`"state":"firing"`))
	})
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestUnits: systemd-analyze finds nothing wrong with the units.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze")
	}
	dir := t.TempDir()
	for _, name := range []string{"sbx.service", "sbx.socket"} {
		text := mustRead(t, dist+"/systemd/"+name)
		// What is not installed here is not the unit's mistake.
		text = strings.Replace(text, "ExecStart=/usr/bin/sbx ", "ExecStart=/bin/true ", 1)
		text = strings.Replace(text, "Documentation=man:sbx(1)\n", "", 1)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(analyze, "verify", dir+"/sbx.service", dir+"/sbx.socket").CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}
