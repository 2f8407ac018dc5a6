//go:build !weak

package weak

// Built tells whether this build can be weakened.
const Built = false

// Off tells whether a measure is taken away: never.
func Off(string) bool { return false }

// Err is the failure that a step is to have: none.
func Err(string) error { return nil }
