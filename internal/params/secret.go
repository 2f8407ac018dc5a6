package params

import (
	"errors"
	"strconv"
	"strings"

	"github.com/sbx-project/sbx/internal/plan"
)

// maxFD is the largest descriptor number that @FD may name: above it is no
// limit that a host sets (fs.nr_open is 2^20 by default).
const maxFD = 1<<20 - 1

// secretFD reads the @FD of a secret parameter. The error does not repeat what
// was given: it may be the secret, by mistake.
func secretFD(p *plan.Param, given string) (int, error) {
	digits, ok := strings.CutPrefix(given, "@")
	fd, err := strconv.Atoi(digits)
	if !ok || err != nil || !decimal(digits) || fd == 1 || fd == 2 || fd > maxFD {
		return 0, errors.New("--" + p.Name + " is secret: give @FD, the number of a descriptor that it is read from, as in --" + p.Name + " @3 3<FILE")
	}
	return fd, nil
}

// Descriptor is one that secret parameters are read from.
type Descriptor struct {
	FD int
	// Limit is how many bytes of it may be of use.
	Limit int
}

// Descriptors are those that Secrets would read, each once, in the order of
// their first use.
func Descriptors(list []plan.Param, values []Value) []Descriptor {
	var out []Descriptor
	at := map[int]int{}
	for i := range list {
		for j := 0; list[i].Secret && j < len(values[i].Items); j++ {
			fd, err := secretFD(&list[i], values[i].Items[j])
			if err != nil {
				continue // Secrets says it
			}
			k, ok := at[fd]
			if !ok {
				k = len(out)
				at[fd] = k
				out = append(out, Descriptor{FD: fd})
			}
			out[k].Limit = max(out[k].Limit, limit(&list[i]))
		}
	}
	return out
}

// limit is how many bytes of a descriptor may be of use for p: its value and a
// newline.
func limit(p *plan.Param) int { return int(min(p.Max, maxArg)) + 1 }

// Secrets puts the values of secret parameters in place of the @FD that Parse
// left there. read returns what a descriptor holds up to its end, or an error
// when that is more than limit bytes; one newline at the end does not belong to
// the value. No error repeats a value.
func Secrets(list []plan.Param, values []Value, read func(fd, limit int) (string, error)) error {
	for i := range list {
		p := &list[i]
		if !p.Secret {
			continue
		}
		for j, given := range values[i].Items {
			fd, err := secretFD(p, given)
			if err != nil {
				return err
			}
			value, err := read(fd, limit(p))
			if err != nil {
				return errors.New("--" + p.Name + " @" + strconv.Itoa(fd) + ": " + err.Error())
			}
			value = strings.TrimSuffix(value, "\n")
			if err := Check(p, value); err != nil {
				return err
			}
			values[i].Items[j] = value
		}
		values[i].read = true
	}
	return nil
}

// said is a value as a message has it, with a space before it; a secret one
// is left out.
func said(p *plan.Param, value string) string {
	if p.Secret {
		return ""
	}
	return " " + quote(value)
}
