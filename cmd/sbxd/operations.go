package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/sbx-project/sbx/internal/admin"
	"github.com/sbx-project/sbx/internal/audit"
	"github.com/sbx-project/sbx/internal/buildinfo"
	"github.com/sbx-project/sbx/internal/cgroup"
	"github.com/sbx-project/sbx/internal/config"
	"github.com/sbx-project/sbx/internal/ctl"
	"github.com/sbx-project/sbx/internal/daemon"
	"github.com/sbx-project/sbx/internal/feature"
	"github.com/sbx-project/sbx/internal/loader"
	"github.com/sbx-project/sbx/internal/metrics"
	"github.com/sbx-project/sbx/internal/observe"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/state"
	"github.com/sbx-project/sbx/internal/systemd"
	"github.com/sbx-project/sbx/runner"
)

// maxToken bounds a token's file, in bytes.
const maxToken = 4096

// configEvery is how often the configuration is looked at, by one stat(2).
const configEvery = time.Second

// configName stands for the configuration among the commands of a reload. No
// command can be called so.
const configName = "(configuration)"

// keptAudits is how many full files of the audit log are kept: with 64 MiB
// each, a gigabyte, some 2.5 million runs.
const keptAudits = 16

// webFlags are the flags of `sbx serve` for its TCP listener.
type webFlags struct {
	listen, cert, key, token string
	hosts                    []string
	lifecycle                bool
}

func (w *webFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&w.listen, "web.listen", "", "answer the admin API on this TCP address too (127.0.0.1:9810)")
	f.StringVar(&w.cert, "web.tls-cert", "", "certificate for TCP, PEM; required unless the address is this host's own")
	f.StringVar(&w.key, "web.tls-key", "", "its key, PEM")
	f.StringVar(&w.token, "web.token-file", "", "file with the token that TCP asks for; without it only health and metrics are answered there")
	f.StringArrayVar(&w.hosts, "web.host", nil, "a name that TCP may be called by, besides localhost and addresses")
	f.BoolVar(&w.lifecycle, "web.enable-lifecycle", false, "open POST /-/reload")
}

// check refuses what would be weaker than it looks.
func (w *webFlags) check() error {
	switch {
	case w.listen == "" && (w.cert != "" || w.key != "" || w.token != "" || len(w.hosts) > 0):
		return &statusError{125, errors.New("--web.tls-*, --web.token-file and --web.host are for --web.listen"), "--web.listen 127.0.0.1:9810"}
	case (w.cert == "") != (w.key == ""):
		return &statusError{125, errors.New("--web.tls-cert and --web.tls-key go together"), ""}
	case w.listen != "" && w.cert == "" && !admin.Loopback(w.listen):
		return &statusError{125, fmt.Errorf("--web.listen %s: without TLS only an address of this host itself", w.listen), "--web.tls-cert FILE --web.tls-key FILE, or --web.listen 127.0.0.1:9810"}
	}
	return nil
}

// operations is what an operator sees of one daemon.
type operations struct {
	log     *slog.Logger
	audit   *audit.Log
	events  *admin.Hub
	desk    *observe.Desk
	metrics *metrics.Metrics
	server  *admin.Server
	serving sync.WaitGroup
	socket  net.Listener
	tcp     net.Listener
	tls     *tls.Config
	daemon  atomic.Pointer[daemon.Server] // nil until it serves

	mu   sync.Mutex
	host config.Config // as it was last read
}

// operationsConfig says which daemon it is.
type operationsConfig struct {
	key        string // of the registry
	registries []string
	registry   known
	host       config.Config
	log        *slog.Logger
}

// newOperations opens the audit log; nothing is answered yet. Without an audit
// log there is no daemon.
func newOperations(c operationsConfig) (*operations, error) {
	o := &operations{log: c.log, host: c.host, events: admin.NewHub()}
	var err error
	if o.audit, err = openAudit(c, observe.Writable(o.events, c.log)); err != nil {
		return nil, err
	}
	o.desk = observe.New(observe.Options{
		Version: buildinfo.Version, Build: buildinfo.Build, Registries: c.registries, Weakened: weakened(), Audit: o.audit, Events: o.events, Registry: c.registry, Log: c.log,
	})
	o.metrics = metrics.New(metrics.Source{
		InFlight: func() int { return len(o.desk.Runs().Runs) }, Generation: c.registry.Generation, Revisions: c.registry.revisions,
		AuditLines: func() uint64 { n, _ := o.audit.Head(); return n }, AuditErr: o.audit.Err,
		Pool: o.pool, Cgroup: leavesPath(), Version: buildinfo.Version, Build: buildinfo.Build,
	})
	if err := o.configure(c.host); err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// pool is the state of the warm pool; before the daemon serves it is empty.
func (o *operations) pool() daemon.PoolStats {
	if s := o.daemon.Load(); s != nil {
		return s.Pool()
	}
	return daemon.PoolStats{}
}

// configure puts what the host's configuration says in force.
func (o *operations) configure(c config.Config) error {
	collectors := c.Collectors
	if collectors == nil {
		collectors = metrics.All()
	}
	if err := o.metrics.Select(collectors); err != nil {
		return &statusError{125, fmt.Errorf("%s: metrics.collectors: %w", config.Path, err), ""}
	}
	return nil
}

// reconfigure reads the configuration again. After an error what was in force
// is in force still.
func (o *operations) reconfigure() error {
	c, err := config.Load()
	o.mu.Lock()
	defer o.mu.Unlock()
	// Told once for each content of the file, not at every look.
	o.host.Stamp = c.Stamp
	if err == nil {
		err = o.configure(c)
	}
	return err
}

// configChanged tells whether the file is another than the one last read.
func (o *operations) configChanged() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !state.Matches(&o.host.Stamp)
}

// openAudit opens the chain of one registry below its state, or where the
// configuration says.
func openAudit(c operationsConfig, writable func(error)) (*audit.Log, error) {
	opt := audit.Options{Build: buildinfo.Build, Keep: keptAudits, Warn: func(msg string) { c.log.Warn(msg) }, Writable: writable}
	dir := filepath.Join(state.Dir(), c.key, auditDir)
	switch {
	case c.host.AuditFile != "":
		dir, opt.Name = filepath.Split(c.host.AuditFile)
		dir = filepath.Clean(dir)
	case state.Dir() == "":
		return nil, &statusError{125, errors.New("there is no state directory for the audit log"), "set SBX_STATE"}
	default:
		mode := os.FileMode(0o700)
		if os.Geteuid() == 0 {
			mode = 0o755 // plans there are for everybody; the log has 0600
		}
		if err := os.MkdirAll(filepath.Dir(dir), mode); err != nil {
			return nil, err
		}
	}
	log, err := audit.Open(dir, opt)
	if errors.Is(err, audit.ErrHeld) {
		return nil, &statusError{125, err, "sbx status; one daemon serves a registry"}
	}
	if err != nil {
		return nil, fmt.Errorf("open the audit log, without which no run starts: %w", err)
	}
	return log, nil
}

// leavesPath is the group whose statistics are those of all runs.
func leavesPath() string {
	p, err := cgroup.Open("")
	if err != nil {
		return ""
	}
	defer p.Close()
	return p.Path()
}

// weakened lists what this host cannot do.
func weakened() []string {
	var out []string
	for _, f := range feature.Probe().All() {
		if !f.Present {
			out = append(out, f.Name+": "+f.Cost)
		}
	}
	return out
}

// listen opens the admin socket in dir and, where asked for, TCP.
func (o *operations) listen(dir, key string, w webFlags) (err error) {
	opt := admin.Options{
		Source: o.desk, Controller: o.desk, Events: o.events, Metrics: o.metrics, EnableLifecycle: w.lifecycle, Hosts: w.hosts, Log: o.log, UID: uint32(os.Geteuid()),
	}
	if o.socket, err = admin.Listen(dir, admin.SocketName(key)); err != nil {
		return err
	}
	if err := o.listenTCP(w, &opt); err != nil {
		return err
	}
	o.server = admin.New(opt)
	return nil
}

func (o *operations) listenTCP(w webFlags, opt *admin.Options) (err error) {
	if w.listen == "" {
		return nil
	}
	if w.cert != "" {
		pair, err := tls.LoadX509KeyPair(w.cert, w.key)
		if err != nil {
			return fmt.Errorf("load the certificate: %w", err)
		}
		o.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	}
	if w.token != "" {
		if opt.TokenHash, err = readToken(w.token); err != nil {
			return err
		}
	}
	if o.tcp, err = net.Listen("tcp", w.listen); err != nil {
		return fmt.Errorf("listen on %s: %w", w.listen, err)
	}
	return nil
}

// readToken reads the token, which nobody else may.
func readToken(path string) (sum [sha256.Size]byte, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return sum, err
	}
	f, err := safefs.OpenTrusted(path)
	if err != nil {
		return sum, fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && st.Mode().Perm()&0o077 != 0 {
		return sum, &statusError{126, fmt.Errorf("token file %q: others may read it", path), "chmod 600 " + path}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return sum, fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimRight(string(b), "\r\n")
	const shortest = 16 // bytes; a guess at each of 2^64 takes for ever
	if len(b) > maxToken || len(token) < shortest || strings.ContainsAny(token, "\r\n") {
		return sum, &statusError{125, fmt.Errorf("token file %q: want one line of %d to %d bytes", path, shortest, maxToken), "openssl rand -hex 32"}
	}
	return sha256.Sum256([]byte(token)), nil
}

// configured has a reload look at the configuration as well.
type configured struct {
	daemon.Commands
	operations *operations
}

// Reload looks at both. A bad configuration rejects nothing of the registry.
func (c configured) Reload() daemon.Reload {
	bad := c.operations.reconfigure()
	r := c.Commands.Reload()
	if bad != nil {
		rejected := map[string]string{configName: bad.Error()}
		for name, why := range r.Rejected {
			rejected[name] = why
		}
		r.Rejected = rejected
	}
	return r
}

// observers are to be told of everything that the daemon does.
func (o *operations) observers() daemon.Observers {
	return daemon.Observers{o.desk, o.metrics, reports{}}
}

// reports keeps the reports of runs that were not ok, for the daemon's user;
// the caller's own sbx keeps them for him.
type reports struct{}

func (reports) RunStarted(daemon.RunInfo) error             { return nil }
func (reports) RunEnded(_ daemon.RunInfo, r *runner.Report) { ctl.KeepReport(r) }
func (reports) Refused(daemon.Refusal)                      {}
func (reports) Reloaded(daemon.Reload)                      {}

// notify takes the loader's events.
func (o *operations) notify(events []loader.Event) {
	var changes []observe.Change
	for _, e := range events {
		if c, ok := changeOf(e); ok {
			changes = append(changes, c)
		}
	}
	o.desk.Changed(changes...)
	for _, c := range changes {
		switch c.Kind {
		case admin.NotTaken, admin.Distrusted:
			o.metrics.Reloaded(daemon.Reload{Rejected: map[string]string{c.Command: c.Reason}, Time: time.Now()})
		case admin.Registered, admin.Replaced, admin.Rebuilt, admin.RetiredKind:
			o.metrics.Reloaded(daemon.Reload{Changed: []string{c.Command}, Time: time.Now()})
		}
	}
}

// serve answers from here on, and tells the service manager that the daemon is
// ready, and alive until ctx ends.
func (o *operations) serve(ctx context.Context, d observe.Daemon, status string) {
	o.desk.Attach(d)
	o.serving.Go(func() {
		if err := o.server.ServeUnix(o.socket); err != nil {
			o.log.Error("the admin socket has ended", "error", err)
		}
	})
	if o.tcp != nil {
		o.log.Info("admin API", "address", o.tcp.Addr().String(), "tls", o.tls != nil)
		o.serving.Go(func() {
			if err := o.server.ServeTCP(o.tcp, o.tls); err != nil {
				o.log.Error("the TCP listener has ended", "error", err)
			}
		})
	}
	o.tell(systemd.Ready(status))
	o.serving.Go(func() {
		// Status takes every lock that there is: who holds one for ever keeps
		// it from returning, and the service manager starts a new daemon.
		systemd.Watch(ctx, func() error { o.desk.Status(); return nil }, o.tell)
	})
	o.serving.Go(func() {
		look := time.NewTicker(configEvery)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				if o.configChanged() {
					o.reload(d, status)
				}
			case <-ctx.Done():
				return
			}
		}
	})
}

// reload looks at configuration and registry again, for a signal or a changed
// file; the observers say what came of it.
func (o *operations) reload(d observe.Daemon, status string) {
	o.tell(systemd.Reloading())
	r := d.Reload()
	if r.Err != nil {
		o.log.Error("keeping what is in force", "error", r.Err)
	}
	for name, why := range r.Rejected {
		o.log.Error("keeping what is in force", "command", name, "reason", why)
	}
	o.tell(systemd.Ready(status))
}

// tell logs what is no reason to end.
func (o *operations) tell(err error) {
	if err != nil {
		o.log.Warn("ignoring", "error", err)
	}
}

// close ends the answers and closes the audit log, last.
func (o *operations) close() error {
	var errs []error
	if o.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		errs = append(errs, o.server.Close(ctx))
		o.serving.Wait()
	}
	// Those that nobody served.
	for _, l := range []net.Listener{o.socket, o.tcp} {
		if l == nil {
			continue
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if o.audit != nil {
		errs = append(errs, o.audit.Close())
	}
	return errors.Join(errs...)
}
