package registry

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/policy"
)

// MaxSegments bounds the segments of a name, and with it the depth of a
// registry.
const MaxSegments = 8

// CheckName accepts up to MaxSegments segments [a-z][a-z0-9-]{0,31} joined by
// dots.
func CheckName(name string) error {
	segments := strings.Split(name, ".")
	if len(segments) > MaxSegments {
		return errors.New(strconv.Quote(name) + " has more than " + strconv.Itoa(MaxSegments) + " segments")
	}
	for _, s := range segments {
		if !policy.IsSegment(s) {
			return errors.New(strconv.Quote(name) + " is not a name")
		}
	}
	return nil
}

// checkSegment accepts segment as the name of a file or directory in the group
// whose name is prefix without its dot. A dot in it would be another group.
func checkSegment(prefix, segment string) error {
	if strings.Contains(segment, ".") {
		return errors.New(strconv.Quote(segment) + " is not a name: groups are directories")
	}
	return CheckName(prefix + segment)
}
