package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

// browser is one session of a headless Chromium, by the WebDriver protocol
// (https://www.w3.org/TR/webdriver2/).
type browser struct {
	t       *testing.T
	session string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	chromium, driver := testenv.Program(t, "chromium"), testenv.Program(t, "chromedriver")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command(driver, fmt.Sprintf("--port=%d", port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, session: fmt.Sprintf("http://127.0.0.1:%d", port)}
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(b.session + "/status"); err == nil {
			resp.Body.Close()
			break
		} else if time.Now().After(deadline) {
			t.Fatal("chromedriver does not answer: ", err)
		}
	}
	var made struct{ SessionID string }
	t.Cleanup(func() {
		if made.SessionID != "" {
			req, _ := http.NewRequest("DELETE", b.session, nil)
			if resp, err := http.DefaultClient.Do(req); err == nil {
				resp.Body.Close()
			}
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	b.call("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"binary": chromium, "args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
			"--disable-dev-shm-usage", "--window-size=1280,1000", "--user-data-dir=" + filepath.Join(home, "profile"),
		}},
	}}}, &made)
	b.session += "/session/" + made.SessionID
	return b
}

// call asks the driver.
func (b *browser) call(method, path string, body, v any) {
	b.t.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, b.session+path, in)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	answer := struct{ Value any }{v}
	if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode != 200 {
		b.t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, text)
	}
}

// script returns what a script in the page returns.
func (b *browser) script(text string) (v any) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": text, "args": []any{}}, &v)
	return v
}

// until waits for a script to return true.
func (b *browser) until(what, text string) {
	b.t.Helper()
	for deadline := time.Now().Add(2 * patience); b.script("return "+text) != true; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("not %s; the page says %v", what, b.script("return document.body.innerText"))
		}
	}
}

// TestPage: what the page shows in a browser, live, with names and texts that
// would be markup.
func TestPage(t *testing.T) {
	b := newBrowser(t)
	const hostile = `<img src=x onerror="window.owned=1"><script>window.owned=1</script>"'&lt;`
	d := newDaemon()
	d.status.Commands = append(d.status.Commands,
		Command{Name: hostile, State: Quarantined, Version: hostile, Reason: hostile, LastViolation: "a\u202eb\x1b", Candidate: &Revision{Version: hostile, Reason: hostile}},
		Command{Name: "jq", State: Active, Version: "1.6.0"})
	d.status.Weakened = []string{hostile}
	d.status.Build = hostile
	d.status.Reload = &Reload{Time: when, Rejected: []Rejection{{Command: hostile, Reason: hostile}}, Changed: []string{}}
	hub := NewHub()
	_, _, address := serve(t, Options{Source: d, Controller: d, Events: hub, TokenHash: sha256.Sum256([]byte("token"))})
	b.call("POST", "/url", map[string]string{"url": "http://x:token@" + address + "/"}, nil)
	b.until("connected", `document.getElementById("ready").textContent === "ready"`)
	b.until("all commands shown", `document.querySelectorAll("#commands tr").length === 3`)
	if got := b.script(`return document.querySelector("#commands td").textContent`); got != hostile {
		t.Errorf("what needs a person first: %q, want %q", got, hostile)
	}
	b.until("the run shown", `document.querySelector("#runs td").textContent === "db.backup"`)

	uid, code := uint32(1000), 159
	d.also.Store(&Run{Run: "run-2", Command: "jq", Version: "1.6.0", UID: uid})
	hub.Publish(Event{Kind: RunStarted, Run: "run-2", Command: "jq", Version: "1.6.0", UID: &uid})
	b.until("a run that began shown", `document.querySelectorAll("#runs tr").length === 2`)
	d.also.Store(nil)
	hub.Publish(Event{Kind: RunEnded, Run: "run-2", Command: "jq", UID: &uid, Outcome: "violation", ExitCode: &code, Violations: []Violation{{Kind: "syscall", Syscall: "ptrace", Comm: hostile, Path: hostile, AllowWith: "allow: [ptrace]"}}})
	b.until("a violation shown", `document.querySelector("#violations .bad") && document.querySelector("#violations .bad").textContent.includes("ptrace by <img")`)
	b.until("its run gone", `document.querySelectorAll("#runs tr").length === 1`)
	hub.Publish(Event{Kind: RunRefused, Command: hostile, Reason: hostile, UID: &uid})
	b.until("the refusal shown", `document.querySelectorAll("#violations tr").length === 2`)
	for range 120 {
		hub.Publish(Event{Kind: Reloaded, Reload: &Reload{Rejected: []Rejection{{Command: hostile}}}})
	}
	b.until("events shown, and not without end", `document.querySelectorAll("#events tr").length === 50`)

	var png string
	b.call("GET", "/screenshot", nil, &png)
	picture, err := base64.StdEncoding.DecodeString(png)
	if err != nil || len(picture) < 10_000 {
		t.Errorf("screenshot of %d bytes, %v", len(picture), err)
	}
	if err := os.WriteFile(filepath.Join(t.ArtifactDir(), "status.png"), picture, 0o644); err != nil {
		t.Error(err)
	}

	if v := b.script(`return window.owned`); v != nil {
		t.Error("a name was carried out as script")
	}
	if v := b.script(`return document.querySelectorAll("img, iframe, object, main script").length`); v != float64(0) {
		t.Errorf("%v elements were made of names", v)
	}
	if v := b.script(`try { document.body.innerHTML = "<b>x</b>"; return "made" } catch (e) { return e.name }`); v != "TypeError" {
		t.Errorf("markup from a string: %v", v)
	}
	if v := b.script(`return performance.getEntriesByType("resource").filter(r => !r.name.startsWith(location.origin)).map(r => r.name).join()`); v != "" {
		t.Errorf("asked elsewhere: %v", v)
	}
	if v := b.script(`const x = document.createElement("script"); try { x.textContent = "window.owned = 1" } catch (e) {} document.body.append(x); return window.owned`); v != nil {
		t.Error("a script that was put in ran")
	}
	var log []struct{ Level, Message string }
	b.call("POST", "/se/log", map[string]string{"type": "browser"}, &log)
	for _, l := range log {
		// The two attempts above are refused aloud.
		if !strings.Contains(l.Message, "TrustedHTML") && !strings.Contains(l.Message, "TrustedScript") && !strings.Contains(l.Message, "script-src") {
			t.Errorf("console: %s: %s", l.Level, l.Message)
		}
	}
}

// TestPageAlone: the page names nothing but itself, without a browser.
func TestPageAlone(t *testing.T) {
	for _, m := range regexp.MustCompile(`(?i)(https?:)?//[a-z0-9.-]+\.[a-z]+|@import|url\(|\ssrc=|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|\son[a-z]+=`).FindAllString(string(page), -1) {
		t.Errorf("the page has %q", m)
	}
	if p := pagePolicy(); strings.Contains(p, "unsafe") || strings.Contains(p, "*") {
		t.Errorf("policy %q", p)
	}
	if n := len(page); n > 32<<10 {
		t.Errorf("the page has %d bytes", n)
	}
}
