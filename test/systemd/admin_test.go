package systemd

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// metrics is what the daemon says on its admin socket.
func metrics(t *testing.T) string {
	t.Helper()
	sockets, _ := filepath.Glob("/run/sbx/*.admin")
	if len(sockets) != 1 {
		t.Fatalf("admin sockets: %q", sockets)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", sockets[0])
	}}}
	resp, err := client.Get("http://sbx/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// metric is the sum of one metric over its labels.
func metric(t *testing.T, name string) float64 {
	t.Helper()
	sum, found := 0.0, false
	text := metrics(t)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 || f[0] != name && !strings.HasPrefix(f[0], name+"{") {
			continue
		}
		n, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+n, true
	}
	if !found {
		t.Fatalf("no %s in\n%s", name, text)
	}
	return sum
}
