package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// qmp speaks QEMU's machine protocol on one connection (qmp-spec in QEMU's
// documentation): a greeting, then one answer to each command, with events
// between them.
type qmp struct {
	w io.Writer
	d *json.Decoder
}

// openQMP begins the conversation; the caller keeps and closes rw.
func openQMP(rw io.ReadWriter) (*qmp, error) {
	q := &qmp{w: rw, d: json.NewDecoder(rw)}
	_, err := q.do("qmp_capabilities", nil)
	return q, err
}

// do sends one command and returns its answer. Args may be nil.
func (q *qmp) do(command string, args map[string]any) (map[string]any, error) {
	msg := map[string]any{"execute": command}
	if args != nil {
		msg["arguments"] = args
	}
	b, err := json.Marshal(msg)
	if err != nil {
		return nil, err
	}
	if _, err := q.w.Write(append(b, '\n')); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	for {
		// Neither field: the greeting or an event.
		var answer struct {
			Return map[string]any
			Error  *struct{ Class, Desc string }
		}
		if err := q.d.Decode(&answer); err != nil {
			return nil, fmt.Errorf("qmp %s: %w", command, err)
		}
		if answer.Error != nil {
			return nil, fmt.Errorf("qmp %s: %s: %s", command, answer.Error.Class, answer.Error.Desc)
		}
		if answer.Return != nil {
			return answer.Return, nil
		}
	}
}
