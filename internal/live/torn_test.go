package live

import (
	"os"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/loader"
)

// TestReloadWhileWritten: a reload that meets a bundle which is being written
// looks again after the settle time and answers for what is there then. It is no
// rejection, neither in the answer nor in the events.
func TestReloadWhileWritten(t *testing.T) {
	f := newFixture(t)
	dir := f.dir() + "/tool"
	write := func(version string) {
		f.must(os.MkdirAll(dir, 0o755))
		text := "apiVersion: sbx/v1\nname: tool\nversion: " + version + "\nexec: {path: /bin/sh, args: passthrough}\n"
		f.must(os.WriteFile(dir+"/bundle.yaml", []byte(text), 0o644))
	}
	write("1.0.0")
	// Reading it takes longer than from one write to the next.
	data, err := os.Create(dir + "/data")
	f.must(err)
	defer data.Close()
	f.must(data.Truncate(64 << 20))
	f.start()
	f.version("tool", "1.0.0")

	const busy = 700 * time.Millisecond
	first := make(chan bool)
	written := make(chan error, 1)
	go func() {
		for end, n := time.Now().Add(busy), 0; time.Now().Before(end); n++ {
			if _, err := data.WriteAt([]byte{byte(n)}, 0); err != nil {
				written <- err
				return
			}
			if n == 0 {
				close(first)
			}
			time.Sleep(time.Millisecond)
		}
		written <- os.WriteFile(dir+"/bundle.yaml", []byte("apiVersion: sbx/v1\nname: tool\nversion: 2.0.0\nexec: {path: /bin/sh, args: passthrough}\n"), 0o644)
	}()
	<-first
	begin := time.Now()
	results, err := f.set.Reload()
	f.must(err)
	f.must(<-written)
	if r := results["tool"]; r == nil || r.Err != nil || r.Plan == nil {
		t.Errorf("the answer after %v: %+v", time.Since(begin), r)
	}
	f.version("tool", "2.0.0")
	if n := f.count(loader.Rejected, "tool"); n > 0 {
		t.Errorf("%d rejections of what was being written", n)
	}
}
