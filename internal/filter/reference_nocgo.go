//go:build !cgo

package filter

import "errors"

// HaveReference reports whether this build can compile a reference.
const HaveReference = false

// Reference compiles rs with libseccomp, which takes a build with cgo; this is
// one without, and it returns an error that says so.
func Reference(rs Ruleset) ([]byte, error) {
	if err := rs.validate(); err != nil {
		return nil, err
	}
	return nil, errors.New("reference filter: libseccomp: this build is without cgo (CGO_ENABLED=1 and libseccomp-dev are needed)")
}
