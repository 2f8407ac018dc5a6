package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/safefs"
)

// ErrNoDaemon says that nobody listens on the socket.
var ErrNoDaemon = errors.New("no daemon runs")

// maxAnswer bounds an answer that is read, in bytes: 10,000 commands take
// some 5 MB.
const maxAnswer = 64 << 20

// AnswerError is a daemon's answer other than success.
type AnswerError struct {
	// Status is the HTTP status.
	Status int
	Problem
}

func (e *AnswerError) Error() string { return e.Problem.Error }

// Client asks one daemon. Safe for concurrent use; Close when done.
type Client struct {
	http *http.Client
	dir  *os.File
}

// Dial makes a client of the socket name in dir. It connects when something is
// asked. Errors: ErrNoDaemon when there is no such directory.
//
// Trust boundary. Who controls the input: who made the directory and the
// socket. What privilege is held: the caller's. What has been checked: every
// component of dir (safefs); at each connection, that the peer is uid 0 or the
// caller. What fails closed: a stranger's socket is not spoken to.
func Dial(dir, name string) (*Client, error) {
	d, err := safefs.OpenTrusted(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNoDaemon
	}
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
			return nil, ErrNoDaemon
		}
		if err != nil {
			return nil, err
		}
		peer, err := socketPeer(c.(*net.UnixConn))
		if err == nil && peer.UID != 0 && peer.UID != uint32(os.Geteuid()) {
			err = &safefs.OwnerError{Path: dir + "/" + name, UID: peer.UID}
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}, dir: d}, nil
}

// Close lets the connections go.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return c.dir.Close()
}

// Get reads path into v.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.call(ctx, http.MethodGet, path, nil, v)
}

// Kill ends a run.
func (c *Client) Kill(ctx context.Context, run string) error {
	return c.call(ctx, http.MethodDelete, "/v1/runs/"+url.PathEscape(run), nil, &Killed{})
}

// Reload asks for a reload; with wait it returns when it is over. expected is
// the generation that must be in force, nil for any. What was rejected is in
// the result and no error.
func (c *Client) Reload(ctx context.Context, wait bool, expected *uint64) (Reload, error) {
	header := http.Header{}
	if expected != nil {
		header.Set("If-Match", etag(*expected))
	}
	var res Reload
	path := "/v1/reload"
	if !wait {
		path += "?wait=false"
	}
	err := c.call(ctx, http.MethodPost, path, header, &res)
	return res, err
}

// call does one request. An answer with a Problem is an *AnswerError.
func (c *Client) call(ctx context.Context, method, path string, header http.Header, v any) error {
	resp, err := c.do(ctx, method, path, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the daemon's answer has more than %d bytes", maxAnswer)
	}
	var p Problem
	if resp.StatusCode >= 400 && json.Unmarshal(b, &p) == nil && p.Error != "" && !bytes.Contains(b, []byte(`"rejected"`)) {
		return &AnswerError{resp.StatusCode, p}
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the daemon's answer to %s %s (%s): %w", method, path, resp.Status, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sbx"+path, nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	resp, err := c.http.Do(req)
	// What http says around it (method and made-up address) helps nobody.
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return resp, err
}

// Events calls each with every event as it comes, until ctx ends, the daemon
// does, or each returns an error. since is as for /v1/events.
func (c *Client) Events(ctx context.Context, since string, follow bool, each func(Event, []byte) error) error {
	q := url.Values{}
	if since != "" {
		q.Set("since", since)
	}
	if !follow {
		q.Set("follow", "false")
	}
	resp, err := c.do(ctx, http.MethodGet, "/v1/events?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var p Problem
		json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p)
		return &AnswerError{resp.StatusCode, p}
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("the daemon's event: %w", err)
		}
		if err := each(e, lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}
