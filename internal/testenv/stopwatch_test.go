package testenv

import (
	"testing"
	"time"
)

func TestIdleTime(t *testing.T) {
	if got, want := idleTime("cpu  10 20 30 4567 50 0 0 0 0 0\ncpu0 1 2 3 4 5\n"), 45670*time.Millisecond; got != want {
		t.Errorf("idle for %v, want %v", got, want)
	}
	for _, text := range []string{"", "cpu0 1 2 3 4 5\n", "cpu 1 2 3\n", "cpu 1 2 3 x 5\n"} {
		before := idleTime(text)
		if after := idleTime(text); after < before || after > before+time.Hour || before == 0 {
			t.Errorf("%q: %v, then %v: the clock's time is to count", text, before, after)
		}
	}
}

// TestStopwatch: a stopwatch is never ahead of the clock, and it runs: who waits
// comes to an end.
func TestStopwatch(t *testing.T) {
	begin := time.Now()
	s := Begin()
	for !s.Over(50 * time.Millisecond) {
		time.Sleep(time.Millisecond)
		if took, clock := s.Took(), time.Since(begin); took > clock {
			t.Fatalf("%v have passed in %v", took, clock)
		}
	}
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("50 ms were over after %v", took)
	}
	old := Stopwatch{begin: begin.Add(-atMost - time.Second), idle: s.idle + time.Hour}
	if took := old.Took(); took > 0 || !old.Over(0) {
		t.Errorf("%v of a machine that is busy for ever; over: %v", took, old.Over(0))
	}
}
