//go:build !cgo

package filter

import (
	"strings"
	"testing"
)

func TestReferenceNamesCgo(t *testing.T) {
	if HaveReference {
		t.Error("HaveReference is true without cgo")
	}
	if _, err := Reference(Ruleset{Arch: "amd64"}); err == nil || !strings.Contains(err.Error(), "cgo") {
		t.Errorf("got %v, want an error that names cgo", err)
	}
}
