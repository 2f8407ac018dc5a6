package admin

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route is one method of one path. The table is the API: the server answers
// from it, and the OpenAPI document is made of it.
type route struct {
	method, path string
	summary      string
	// query are the parameters that may be given; any other is 400.
	query []query
	// answers are the types of the answers by status, nil for no JSON.
	answers map[int]any
	// content is the type of an answer that is no JSON.
	content string
	// slow is set where an answer may take longer than a connection's
	// timeouts; the handler bounds itself.
	slow bool
	// handle returns the status and the value, or a *problem.
	handle func(*http.Request) (int, any, *problem)
	// raw, instead of handle, writes by itself.
	raw http.HandlerFunc
}

type query struct{ name, doc string }

// table lists the routes.
func (s *Server) table() []route {
	problems := func(also map[int]any, statuses ...int) map[int]any {
		for _, st := range statuses {
			also[st] = Problem{}
		}
		return also
	}
	list := []route{
		{method: "GET", path: "/v1/status", summary: "Everything at a glance, with the status of every command", answers: map[int]any{200: Status{}}, handle: func(*http.Request) (int, any, *problem) {
			return 200, s.opt.Source.Status(), nil
		}},
		{method: "GET", path: "/v1/commands", summary: "Every command", answers: map[int]any{200: Commands{}}, handle: func(*http.Request) (int, any, *problem) {
			return 200, s.opt.Source.Commands(), nil
		}},
		{method: "GET", path: "/v1/commands/{name}", summary: "One command", answers: problems(map[int]any{200: Command{}}, 404), handle: s.command},
		{method: "GET", path: "/v1/runs", summary: "Runs that are going", answers: map[int]any{200: Runs{}}, handle: func(*http.Request) (int, any, *problem) {
			return 200, s.opt.Source.Runs(), nil
		}},
		{method: "DELETE", path: "/v1/runs/{run}", summary: "End a run", answers: problems(map[int]any{202: Killed{}}, 404, 500), handle: s.kill},
		{method: "GET", path: "/v1/generations", summary: "Generations that are kept", answers: problems(map[int]any{200: Generations{}}, 500), handle: func(*http.Request) (int, any, *problem) {
			g, err := s.opt.Source.Generations()
			if err != nil {
				return 0, nil, fail(500, "", "read generations: %v", err)
			}
			return 200, g, nil
		}},
		{
			method: "GET", path: "/v1/events", summary: "Events as they happen: lines of JSON, or server-sent events when Accept asks for text/event-stream",
			query:   []query{{"since", "id of the last event that was seen; 0 for all that are kept"}, {"follow", "false: end after what is kept"}},
			answers: problems(map[int]any{200: nil}, 400, 503), content: "application/x-ndjson", slow: true, raw: s.events,
		},
		{method: "POST", path: "/v1/reload", summary: "Load what changed; If-Match takes a generation's ETag. Without wait, 202 at once", query: []query{{"wait", "false: do not wait for the end"}},
			answers: problems(map[int]any{200: Reload{}, 202: Reload{}, 409: Reload{}, 412: Reload{}, 422: Reload{}}, 400, 500, 504), slow: true, handle: s.reload},
		{method: "GET", path: "/v1/openapi.json", summary: "This document", answers: map[int]any{200: nil}, content: "application/json", raw: s.document},
		{method: "GET", path: "/{$}", summary: "The status page, for people", answers: map[int]any{200: nil}, content: "text/html", raw: s.page},
		{method: "GET", path: "/-/healthy", summary: "The daemon answers, and can write its audit log", answers: map[int]any{200: Health{}, 503: Health{}}, handle: s.healthy},
		{method: "GET", path: "/-/ready", summary: "The daemon accepts runs", answers: map[int]any{200: Health{}, 503: Health{}}, handle: s.ready},
	}
	list = append(list, s.actRoutes()...)
	if s.opt.EnableLifecycle {
		r := *find(list, "POST", "/v1/reload")
		r.path, r.summary = "/-/reload", "The same as /v1/reload; only with --web.enable-lifecycle"
		list = append(list, r)
	}
	if s.opt.Metrics != nil {
		list = append(list, route{method: "GET", path: "/metrics", summary: "Metrics in Prometheus's format", answers: map[int]any{200: nil}, content: "text/plain", raw: s.opt.Metrics.ServeHTTP})
	}
	return list
}

func find(list []route, method, path string) *route {
	for i := range list {
		if list[i].method == method && list[i].path == path {
			return &list[i]
		}
	}
	return nil
}

func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, rt := range s.routes {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, &rt) })
		allowed[rt.path] = append(allowed[rt.path], rt.method)
	}
	for path, methods := range allowed {
		slices.Sort(methods)
		if slices.Contains(methods, "GET") {
			methods = append(methods, "HEAD") // what the mux makes of GET
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			s.answer(w, http.StatusMethodNotAllowed, Problem{Error: "method " + r.Method + " not allowed for " + path})
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		hint := ""
		if r.URL.Path == "/-/reload" {
			hint = "start the daemon with --web.enable-lifecycle"
		}
		s.answer(w, http.StatusNotFound, Problem{Error: "no such path", Hint: hint})
	})
	return mux
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	values := r.URL.Query()
	for name := range values {
		if !slices.ContainsFunc(rt.query, func(q query) bool { return q.name == name }) || len(values[name]) != 1 {
			s.answer(w, http.StatusBadRequest, Problem{Error: "query parameter " + strconv.Quote(name) + " is unknown here, or given twice"})
			return
		}
	}
	if rt.slow {
		rc := http.NewResponseController(w)
		if err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Now().Add(reloadTime+writeTimeout))); err != nil {
			s.answer(w, http.StatusInternalServerError, Problem{Error: "set deadlines: " + err.Error()})
			return
		}
	}
	if rt.raw != nil {
		rt.raw(w, r)
		return
	}
	status, v, p := rt.handle(r)
	if p != nil {
		s.answer(w, p.status, p.Problem)
		return
	}
	switch v := v.(type) {
	case Status:
		w.Header().Set("ETag", etag(v.Generation))
	case Commands:
		w.Header().Set("ETag", etag(v.Generation))
	case Generations:
		w.Header().Set("ETag", etag(v.Generation))
	case Reload:
		w.Header().Set("ETag", etag(v.Generation))
	case Operated:
		w.Header().Set("ETag", etag(v.Generation))
	}
	s.answer(w, status, v)
}

func (s *Server) command(r *http.Request) (int, any, *problem) {
	name := r.PathValue("name")
	for _, c := range s.opt.Source.Commands().Commands {
		if c.Name == name {
			return 200, c, nil
		}
	}
	return 0, nil, fail(404, "", "no such command: %q", name)
}

func (s *Server) kill(r *http.Request) (int, any, *problem) {
	run := r.PathValue("run")
	err := s.opt.Controller.Kill(actor(r), run)
	switch {
	case errors.Is(err, ErrNoRun):
		return 0, nil, fail(404, "sbx ps", "no such run: %q", run)
	case err != nil:
		return 0, nil, fail(500, "", "kill %q: %v", run, err)
	}
	return 202, Killed{Run: run}, nil
}

func (s *Server) healthy(*http.Request) (int, any, *problem) {
	// A full disk is none of the daemon's: a new one would end the runs that are
	// going on, and find it as full.
	if a := s.opt.Source.Status().Audit; a.Error != "" && a.Lasting {
		return 503, Health{Reason: "audit log: " + a.Error}, nil
	}
	return 200, Health{OK: true}, nil
}

func (s *Server) ready(*http.Request) (int, any, *problem) {
	switch st := s.opt.Source.Status(); {
	case st.Draining:
		return 503, Health{Reason: "the daemon is about to end"}, nil
	case st.Audit.Error != "":
		return 503, Health{Reason: "audit log: " + st.Audit.Error}, nil
	case !st.Ready:
		return 503, Health{Reason: "the registry is not loaded"}, nil
	}
	return 200, Health{OK: true}, nil
}
