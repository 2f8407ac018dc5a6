package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Verb is what an operator does to a command.
type Verb string

// The verbs: those of `sbx rollback`.
const (
	Rollback Verb = "rollback"
	Release  Verb = "release"
	SetFloor Verb = "floor"
)

// Act is one act of an operator on the registry.
type Act struct {
	Verb Verb
	// Command is the name; empty: every command, for a Rollback only.
	Command string
	// To is a version, a digest or, for a Rollback without a name, a
	// generation; empty for a Release, and for the last good revision.
	To string
	// Reason is what the operator gives as such; it may be empty.
	Reason string
}

// String is the act in words, as the audit log has them.
func (a Act) String() string {
	switch {
	case a.Command == "":
		return string(a.Verb) + " to generation " + a.To
	case a.Verb == SetFloor:
		return string(a.Verb) + " " + a.To + " of " + a.Command
	case a.To == "":
		return string(a.Verb) + " " + a.Command
	}
	return string(a.Verb) + " " + a.Command + " to " + a.To
}

// ActError is an act that was not carried out: nothing changed.
type ActError struct {
	// Status is 404 where there is no such command, 409 where what is known
	// of the command refuses it, 422 where the registry is not believed.
	Status int
	Err    error
	Hint   string
}

func (e *ActError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ActError) Unwrap() error { return e.Err }

// maxReason bounds what an operator may give as reason, in bytes: the history
// keeps a thousand.
const maxReason = 1000

// actRoutes are the acts on commands. Their answer comes when the act is
// durable, whatever becomes of who asked.
func (s *Server) actRoutes() []route {
	reason := query{"reason", "why, for the history and the audit log"}
	rt := func(path, summary string, act func(*http.Request) (Act, *problem), q ...query) route {
		return route{
			method: "POST", path: path, summary: summary, query: append(q, reason), slow: true,
			answers: map[int]any{200: Operated{}, 400: Problem{}, 404: Problem{}, 409: Problem{}, 412: Problem{}, 422: Problem{}, 500: Problem{}},
			handle: func(r *http.Request) (int, any, *problem) {
				a, p := act(r)
				if p != nil {
					return 0, nil, p
				}
				return s.operate(r, a)
			},
		}
	}
	named := func(verb Verb, member string, required bool) func(*http.Request) (Act, *problem) {
		return func(r *http.Request) (Act, *problem) {
			a := Act{Verb: verb, Command: r.PathValue("name"), To: r.URL.Query().Get(member)}
			if required && a.To == "" {
				return a, fail(400, "", "%s is missing", member)
			}
			return a, nil
		}
	}
	return []route{
		rt("/v1/commands/{name}/rollback", "Put a command back on an older revision, as a new generation", named(Rollback, "to", false), query{"to", "version or digest; the last good one when absent"}),
		rt("/v1/commands/{name}/release", "Let what is quarantined or held of a command be offered again", named(Release, "", false)),
		rt("/v1/commands/{name}/floor", "Raise the oldest version that a command may return to", named(SetFloor, "version", true), query{"version", "the floor; it only grows"}),
		rt("/v1/rollback", "Put every command on what was in force in an older generation, as a new one", func(r *http.Request) (Act, *problem) {
			a := Act{Verb: Rollback, To: r.URL.Query().Get("generation")}
			if g, err := strconv.ParseUint(a.To, 10, 64); err != nil || strconv.FormatUint(g, 10) != a.To {
				return a, fail(400, "", "generation %q: want a number", a.To)
			}
			return a, nil
		}, query{"generation", "its number; required"}),
	}
}

func (s *Server) operate(r *http.Request, a Act) (int, any, *problem) {
	expected, p := ifMatch(r)
	if p != nil {
		return 0, nil, p
	}
	if a.Reason = r.URL.Query().Get("reason"); len(a.Reason) > maxReason {
		return 0, nil, fail(400, "", "reason: want at most %d bytes", maxReason)
	}
	res, err := s.opt.Controller.Operate(actor(r), a, expected)
	var refused *ActError
	switch {
	case errors.Is(err, ErrGeneration):
		return 0, nil, outdated(s.opt.Source.Commands().Generation)
	case errors.As(err, &refused):
		return 0, nil, fail(refused.Status, refused.Hint, "%v", err)
	case err != nil:
		return 0, nil, fail(500, "", "%v", err)
	}
	return 200, res, nil
}

// Operate carries out an act on the registry that has a.Command. A longer
// reason than the history keeps is cut.
func (c *Client) Operate(ctx context.Context, a Act) (Operated, error) {
	q := url.Values{}
	if reason := a.Reason; reason != "" {
		if len(reason) > maxReason {
			reason = strings.ToValidUTF8(reason[:maxReason-3], "") + "..."
		}
		q.Set("reason", reason)
	}
	path := "/v1/rollback"
	member := "generation"
	if a.Command != "" {
		path = "/v1/commands/" + url.PathEscape(a.Command) + "/" + string(a.Verb)
		if member = "to"; a.Verb == SetFloor {
			member = "version"
		}
	}
	if a.To != "" {
		q.Set(member, a.To)
	}
	var res Operated
	err := c.call(ctx, http.MethodPost, path+"?"+q.Encode(), nil, &res)
	return res, err
}
