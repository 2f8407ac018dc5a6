package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sbx-project/sbx/internal/testenv"
)

var errEnough = errors.New("enough")

// read takes n events.
func read(t *testing.T, c *Client, since string, n int) []Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []Event
	err := c.Events(ctx, since, true, func(e Event, _ []byte) error {
		got = append(got, e)
		if len(got) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("after %d events: %v", len(got), err)
	}
	return got
}

func TestEvents(t *testing.T) {
	hub := NewHub()
	_, dir, _ := serve(t, Options{Events: hub})
	c := client(t, dir)
	for i := range 5 {
		hub.Publish(Event{Kind: RunStarted, Run: fmt.Sprint(i)})
	}
	first := read(t, c, "0", 3)
	if first[0].Run != "0" || first[2].Run != "2" || first[0].Time.IsZero() {
		t.Errorf("%+v", first)
	}
	// Going on after the last one that was seen, nothing twice and nothing left out.
	rest := read(t, c, first[2].ID, 2)
	if rest[0].Run != "3" || rest[1].Run != "4" {
		t.Errorf("%+v", rest)
	}
	// Without an id: what comes from now on.
	later := make(chan []Event)
	go func() { later <- read(t, c, rest[1].ID, 1) }()
	hub.Publish(Event{Kind: RunEnded, Run: "new"})
	if got := <-later; got[0].Run != "new" {
		t.Errorf("%+v", got)
	}
	// What is kept, and the end.
	n := 0
	if err := c.Events(t.Context(), "", false, func(Event, []byte) error { n++; return nil }); err != nil || n != 6 {
		t.Errorf("%d events, %v", n, err)
	}
	// An id of a daemon before: a gap, and all that is kept.
	again := read(t, c, "otherone-3", 7)
	if again[0].Kind != Gap || again[1].Run != "0" {
		t.Errorf("%+v", again[:2])
	}
	// Who was away for too long is told how much he missed.
	for i := range kept + 10 {
		hub.Publish(Event{Kind: RunStarted, Run: fmt.Sprint("many", i)})
	}
	missed := read(t, c, first[2].ID, 2)
	if missed[0].Kind != Gap || missed[0].Missed != 3+10 || missed[1].Run != "many10" {
		t.Errorf("%+v", missed)
	}
}

// TestSlowReader: a reader who does not read holds up neither the daemon nor
// another reader.
func TestSlowReader(t *testing.T) {
	hub := NewHub()
	_, dir, _ := serve(t, Options{Events: hub})
	c := client(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	resp, err := c.do(ctx, "GET", "/v1/events?since=0", nil) // never read
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	watch := testenv.Begin()
	big := string(make([]byte, 4096))
	for range 10 * kept {
		hub.Publish(Event{Kind: RunStarted, Reason: big})
	}
	if d := watch.Took(); d > sendTimeout/2 {
		t.Errorf("publishing took %v", d)
	}
	if got := read(t, c, "0", kept); len(got) != kept {
		t.Errorf("%d events", len(got))
	}
}

func TestManyStreams(t *testing.T) {
	hub := NewHub()
	s, dir, _ := serve(t, Options{Events: hub})
	c := client(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range maxStreams {
		resp, err := c.do(ctx, "GET", "/v1/events", nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		defer resp.Body.Close()
	}
	var answer *AnswerError
	if err := c.Events(t.Context(), "", true, nil); !errors.As(err, &answer) || answer.Status != 503 {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for deadline := time.Now().Add(patience); len(s.streams) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams of readers who have gone", len(s.streams))
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	hub := NewHub()
	e := Event{Kind: RunEnded, Run: "run-1", Command: "db.backup", Time: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		hub.Publish(e)
	}
}
