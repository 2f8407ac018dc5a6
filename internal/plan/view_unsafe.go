package plan

import "unsafe"

// view is b as a string without a copy: a plan is read at every run, and most
// of it is strings. Nothing may change b afterwards.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
