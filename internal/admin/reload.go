package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// reloadTime bounds a reload that somebody waits for. A registry of 10,000
// bundles with checks takes minutes when it is read for the first time.
const reloadTime = 10 * time.Minute

// reload carries out POST /v1/reload. The status tells the verdict (SPEC 3):
// 409 and 412 as the candidates were judged, 422 when one is bad in itself;
// the body is the reload's in all three. If-Match with another generation is
// 412 with a problem, by RFC 9110 section 13.1.1.
func (s *Server) reload(r *http.Request) (int, any, *problem) {
	expected, p := ifMatch(r)
	if p != nil {
		return 0, nil, p
	}
	switch wait := r.URL.Query().Get("wait"); wait {
	case "", "true":
	case "false":
		by := actor(r)
		if expected != nil {
			if g := s.opt.Source.Commands().Generation; g != *expected {
				return 0, nil, outdated(g)
			}
		}
		go func() {
			ctx, cancel := context.WithTimeout(s.ctx, reloadTime)
			defer cancel()
			if _, err := s.opt.Controller.Reload(ctx, by, expected); err != nil {
				s.opt.Log.Warn("reload", "error", err)
			}
		}()
		return 202, Reload{Time: time.Now().UTC(), Generation: s.opt.Source.Commands().Generation, Changed: []string{}, Rejected: []Rejection{}}, nil
	default:
		return 0, nil, fail(400, "", "wait=%q: want true or false", wait)
	}
	ctx, cancel := context.WithTimeout(r.Context(), reloadTime)
	defer cancel()
	res, err := s.opt.Controller.Reload(ctx, actor(r), expected)
	switch {
	case errors.Is(err, ErrGeneration):
		return 0, nil, outdated(s.opt.Source.Commands().Generation)
	case errors.Is(err, context.DeadlineExceeded):
		return 0, nil, fail(504, "", "the reload is not over after %v", reloadTime)
	case err != nil:
		return 0, nil, fail(500, "", "reload: %v", err)
	}
	return verdict(res), res, nil
}

func outdated(g uint64) *problem {
	return fail(412, "look at what changed, and try again with this generation", "generation %d is in force, not the one of If-Match", g)
}

// verdict is the status of a reload: the gravest rejection decides.
func verdict(res Reload) int {
	status := http.StatusOK
	if !res.Loaded {
		status = http.StatusUnprocessableEntity
	}
	for _, r := range res.Rejected {
		switch {
		case r.Verdict == http.StatusPreconditionFailed:
			return r.Verdict
		case r.Verdict == http.StatusConflict:
			status = r.Verdict
		}
	}
	return status
}

// ifMatch reads the generation of If-Match; nil when there is none, or "*".
func ifMatch(r *http.Request) (*uint64, *problem) {
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	text := strings.TrimSpace(strings.Join(values, ","))
	if text == "*" {
		return nil, nil
	}
	inner, okStart := strings.CutPrefix(text, `"`)
	inner, okEnd := strings.CutSuffix(inner, `"`)
	g, err := strconv.ParseUint(inner, 10, 64)
	if !okStart || !okEnd || err != nil || etag(g) != text {
		return nil, fail(400, "", "If-Match %q: want one ETag of a generation, like %s", text, etag(7))
	}
	return &g, nil
}
