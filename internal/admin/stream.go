package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// beat is how often a stream of server-sent events says that it is alive, so
// that proxies keep it and a dead reader is noticed.
const beat = 15 * time.Second

// sendTimeout is how long one event may take to be taken. A reader that does
// not read for longer is let go; its events are in the ring when it returns.
const sendTimeout = 10 * time.Second

// events streams. Lines of JSON by default, server-sent events when asked for.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	since := r.URL.Query().Get("since")
	if since == "" {
		since = r.Header.Get("Last-Event-ID")
	}
	follow := true
	switch v := r.URL.Query().Get("follow"); v {
	case "", "true":
	case "false":
		follow = false
	default:
		s.answer(w, http.StatusBadRequest, Problem{Error: "follow: want true or false"})
		return
	}
	if len(since) > 64 {
		s.answer(w, http.StatusBadRequest, Problem{Error: "since: not the id of an event"})
		return
	}
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		w.Header().Set("Retry-After", "5")
		s.answer(w, http.StatusServiceUnavailable, Problem{Error: "too many readers of events"})
		return
	}
	if !follow && since == "" {
		since = "0"
	}
	sse := strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	kind := "application/x-ndjson"
	if sse {
		kind = "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	reader := s.opt.Events.Reader(since)
	rc := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	send := func(b []byte) bool {
		rc.SetWriteDeadline(time.Now().Add(sendTimeout))
		_, err := w.Write(b)
		return err == nil && rc.Flush() == nil
	}
	if !send(nil) || r.Method == http.MethodHead {
		return
	}
	ctx := r.Context()
	next := make(chan Event)
	go func() {
		defer close(next)
		for {
			e, ok := reader.Next(ctx, follow)
			if !ok {
				return
			}
			select {
			case next <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	alive := time.NewTicker(beat)
	defer alive.Stop()
	for {
		select {
		case e, ok := <-next:
			if !ok || !send(frame(e, sse)) {
				return
			}
		case <-alive.C:
			if sse && !send([]byte(":\n\n")) {
				return
			}
		}
	}
}

// frame is one event on the wire. JSON has no line end inside, so a line of
// data is enough.
func frame(e Event, sse bool) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		b, _ = json.Marshal(Event{ID: e.ID, Time: e.Time, Kind: Gap, Missed: 1, Reason: "bug: an event has no JSON"})
	}
	if !sse {
		return append(b, '\n')
	}
	out := append([]byte("id: "), e.ID...)
	out = append(append(out, "\ndata: "...), b...)
	return append(out, '\n', '\n')
}
