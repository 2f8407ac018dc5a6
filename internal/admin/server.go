// Package admin is what an operator sees and does: an HTTP API with JSON on a
// Unix socket of the daemon, a page for people, and the client that sbx's
// verbs use. [New] makes the server, [Dial] the client, [Hub] carries events.
//
// On the Unix socket only uid 0 and the daemon's own uid are answered, by the
// kernel's word. On TCP a token is asked for by everything but health and
// metrics. It does not protect from who has either.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a connection. A client that is slower is not one of ours; one that
// is bigger is none of anybody's.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10
	// maxStreams bounds readers of events; each holds a goroutine and a
	// connection for as long as it likes.
	maxStreams = 64
	// maxConns bounds the connections of one listener.
	maxConns = 256
)

// Source says how things are. Its methods are called by several goroutines at
// once and return values that nobody changes afterwards.
type Source interface {
	Status() Status
	Commands() Commands
	Runs() Runs
	Generations() (Generations, error)
}

// ErrNoRun says that no run of that id is going.
var ErrNoRun = errors.New("no such run")

// ErrGeneration says that another generation is in force than was expected.
var ErrGeneration = errors.New("another generation is in force")

// Controller carries out what an operator asks for.
type Controller interface {
	// Reload loads what changed, and everything that was rejected before,
	// again. With expected not nil and another generation in force it does
	// nothing and returns ErrGeneration. An error means that it did not come
	// about; what was rejected is in the result.
	Reload(ctx context.Context, by Actor, expected *uint64) (Reload, error)
	// Kill ends a run: ErrNoRun when it is not going.
	Kill(by Actor, run string) error
	// Operate carries out an act on the registry; it is durable when Operate
	// returns. Errors: ErrGeneration as for Reload, *ActError.
	Operate(by Actor, act Act, expected *uint64) (Operated, error)
}

// Actor is who asked for an act, for the record.
type Actor struct {
	// Peer is that of the Unix socket, by the kernel's word (SO_PEERCRED); nil
	// for who had the token.
	Peer *Peer
	// Address is the peer's of TCP.
	Address string
}

// Peer is the process at the other end of a Unix socket when it connected.
type Peer struct {
	UID, GID uint32
	// PID is 0 where the process is not in the daemon's PID namespace.
	PID int32
}

// Options of a server.
type Options struct {
	Source     Source
	Controller Controller
	Events     *Hub
	// Metrics answers /metrics; nil: 404.
	Metrics http.Handler
	// EnableLifecycle opens /-/reload. /v1/reload is there for who may use the
	// Unix socket, whatever this says.
	EnableLifecycle bool
	// TokenHash is the sha256 of the token that TCP asks for; zero: only
	// health and metrics are answered on TCP.
	TokenHash [sha256.Size]byte
	// Hosts are names by which the TCP listener may be called, besides
	// localhost and addresses. Others are refused: they may be a stranger's
	// name that leads here (DNS rebinding).
	Hosts []string
	// Log takes what goes wrong with connections; nil: nothing.
	Log *slog.Logger
	// UID is the user besides root who may use the Unix socket.
	UID uint32
}

// Server is the admin API. Methods are safe for concurrent use.
type Server struct {
	opt     Options
	routes  []route
	policy  string // of the page
	unix    *http.Server
	tcp     *http.Server
	streams chan struct{} // a token for each
	ctx     context.Context
	cancel  context.CancelFunc
}

// New makes a server. It has no listener yet.
func New(opt Options) *Server {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: opt, streams: make(chan struct{}, maxStreams)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.policy = pagePolicy()
	s.routes = s.table()
	s.unix, s.tcp = s.server(true), s.server(false)
	return s
}

func (s *Server) server(unix bool) *http.Server {
	return &http.Server{
		Handler:           s.guard(unix, s.mux()),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ConnContext: connContext,
		ErrorLog:    slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
}

// ServeUnix answers on a Unix socket until Close. The listener is the
// server's from here on.
func (s *Server) ServeUnix(l net.Listener) error { return ignoreClosed(s.unix.Serve(limit(l))) }

// ServeTCP answers on TCP until Close, through TLS unless config is nil. The
// listener is the server's from here on. Without TLS the token can be read by
// whoever sees the wire: see Loopback.
func (s *Server) ServeTCP(l net.Listener, config *tls.Config) error {
	l = limit(l)
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return ignoreClosed(s.tcp.Serve(l))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends streams, lets other answers finish until ctx ends, and closes
// the listeners.
func (s *Server) Close(ctx context.Context) error {
	s.cancel()
	err := errors.Join(s.unix.Shutdown(ctx), s.tcp.Shutdown(ctx))
	return errors.Join(err, s.unix.Close(), s.tcp.Close())
}

// problem is an error with its HTTP status.
type problem struct {
	status int
	Problem
}

func (p *problem) Error() string { return p.Problem.Error }

func fail(status int, hint, format string, args ...any) *problem {
	return &problem{status, Problem{Error: fmt.Sprintf(format, args...), Hint: hint}}
}

// guard stands before every route.
//
// Trust boundary. Who controls the input: on the Unix socket whoever may
// connect to it, on TCP whoever can reach the address, a page in the
// operator's own browser included. What privilege is held: the daemon's. What
// has been checked: nothing but HTTP's form. What fails closed: peer, host,
// origin, token, method, query and body are checked here, in this order, before
// any handler; what is not in the table is 404.
func (s *Server) guard(unix bool, next http.Handler) http.Handler {
	// Requests that change something and come from another site's page are
	// refused, as the browser tells (Sec-Fetch-Site, Origin).
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Frame-Options", "DENY")
		if p := s.admit(unix, cross, r); p != nil {
			if p.status == http.StatusUnauthorized {
				h.Set("WWW-Authenticate", `Basic realm="sbx", charset="UTF-8"`)
			}
			s.answer(w, p.status, p.Problem)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) admit(unix bool, cross *http.CrossOriginProtection, r *http.Request) *problem {
	open := slices.Contains([]string{"/-/healthy", "/-/ready", "/metrics"}, r.URL.Path)
	switch {
	case unix:
		peer := peerOf(r.Context())
		if peer == nil || peer.UID != 0 && peer.UID != s.opt.UID {
			return fail(http.StatusForbidden, "", "only root and the daemon's own user may use this socket")
		}
	case !s.hostAllowed(r.Host):
		return fail(http.StatusMisdirectedRequest, "call it by address, or name the host in web.hosts of the configuration", "host %q is not this daemon", r.Host)
	case !open && s.opt.TokenHash == [sha256.Size]byte{}:
		return fail(http.StatusForbidden, "use the Unix socket, or start the daemon with --web.token-file", "without a token only health and metrics are answered on TCP")
	case !open && !s.token(r):
		return fail(http.StatusUnauthorized, "send the token as password or as bearer token", "no token, or another one")
	}
	if err := cross.Check(r); err != nil {
		return fail(http.StatusForbidden, "", "the request comes from another site's page")
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return fail(http.StatusRequestEntityTooLarge, "", "no request here has a body")
	}
	return nil
}

// token compares in constant time; the hash hides the length as well.
func (s *Server) token(r *http.Request) bool {
	_, got, ok := r.BasicAuth()
	if !ok {
		got, ok = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	sum := sha256.Sum256([]byte(got))
	return ok && subtle.ConstantTimeCompare(sum[:], s.opt.TokenHash[:]) == 1
}

// hostAllowed accepts addresses, which no name server answers for, localhost,
// and the names of the configuration.
func (s *Server) hostAllowed(host string) bool {
	name := host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return false
		}
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || slices.ContainsFunc(s.opt.Hosts, func(h string) bool { return strings.EqualFold(h, name) })
}

// answer writes JSON.
func (s *Server) answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.opt.Log.Error("bug: an answer has no JSON", "error", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":"bug: an answer has no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

func etag(generation uint64) string { return `"` + strconv.FormatUint(generation, 10) + `"` }

// actor is who asks, for the record.
func actor(r *http.Request) Actor {
	if peer := peerOf(r.Context()); peer != nil {
		return Actor{Peer: peer}
	}
	return Actor{Address: r.RemoteAddr}
}
