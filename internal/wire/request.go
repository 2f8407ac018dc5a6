package wire

import "time"

// Version of the messages. It changes with every change of any of them; a
// request of another version is answered with Elsewhere.
const Version = 2

// Request asks for a run. With it come exactly four descriptors: what becomes
// 0, 1 and 2 of the workload, and the caller's working directory (O_PATH).
type Request struct {
	Version uint64
	// Build is the client's build: with another one than the daemon's the
	// meaning of a request could differ.
	Build string
	// Words are NAME and what follows it, as typed.
	Words []string
	// Builtin: a command of the built-in registry may be meant. It is not when
	// the caller has registries of his own that come before it.
	Builtin bool
	// Expect, Limits, Timeout and Chdir are the flags of `sbx run`; empty and
	// 0: not given.
	Expect  string
	Limits  []string
	Timeout time.Duration
	Chdir   string
	// Usage: the caller wants a report, so what the run used is looked up.
	Usage bool
	// Environ is the caller's environment, of which only what the policy
	// passes is used; Env are the variables of --env and --env-file, which it
	// must pass.
	Environ, Env []string
	// Cwd is the caller's name of his working directory: words of the command
	// may hold it. What is shown is decided by the descriptor.
	Cwd string
	// Secrets is what the descriptors of a Wanted hold.
	Secrets []Secret
}

// Descriptors is how many come with a Request.
const Descriptors = 4

func (r *Request) walk(c codec) {
	c.u64(&r.Version)
	if rd, ok := c.(*reader); ok && r.Version != Version {
		rd.s = "" // the rest means something else
		return
	}
	c.str(&r.Build)
	strs(c, &r.Words)
	boolean(c, &r.Builtin)
	c.str(&r.Expect)
	strs(c, &r.Limits)
	num(c, &r.Timeout)
	c.str(&r.Chdir)
	boolean(c, &r.Usage)
	strs(c, &r.Environ)
	strs(c, &r.Env)
	c.str(&r.Cwd)
	list(c, &r.Secrets, func(s *Secret) {
		num(c, &s.FD)
		c.str(&s.Value)
		c.str(&s.Err)
	})
}

// Encode gives the body of a Request message.
func (r *Request) Encode() []byte { return encode(r.walk) }

// DecodeRequest reads the body of a Request message; ErrMalformed when it is
// not exactly one. Of a request of another version only Version is set.
//
// Trust boundary. Who controls the input: whoever may connect to the socket.
// What privilege is held: the daemon's, root in the worst case. What has been
// checked: its length (Conn), and who sent it. What fails closed: every length
// is bounded by the bytes that are there, what is left over is an error, and
// strings with NUL bytes, negative times and an empty name are refused here,
// so that nobody later has to think of them. (A secret may hold any bytes: its
// parameter judges them, as in a direct run.)
func DecodeRequest(b []byte) (*Request, error) {
	r := &Request{}
	if err := decode(b, r.walk); err != nil {
		return nil, err
	}
	if r.Version != Version {
		return &Request{Version: r.Version}, nil
	}
	for _, all := range [...][]string{r.Words, r.Limits, r.Environ, r.Env, {r.Build, r.Expect, r.Chdir, r.Cwd}} {
		for _, s := range all {
			for i := 0; i < len(s); i++ {
				if s[i] == 0 {
					return nil, ErrMalformed
				}
			}
		}
	}
	if len(r.Words) == 0 || r.Words[0] == "" || r.Timeout < 0 {
		return nil, ErrMalformed
	}
	for i := range r.Secrets {
		if s := &r.Secrets[i]; s.FD < 0 || len(s.Value) > MaxSecret || len(s.Err) > maxSecretErr {
			return nil, ErrMalformed
		}
	}
	return r, nil
}
