package params

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sbx-project/sbx/internal/plan"
)

// types holds the manifest's word for each type, by its number.
var types = [...]string{
	plan.ParamString: "string", plan.ParamInt: "int", plan.ParamFloat: "float", plan.ParamBool: "bool",
	plan.ParamDuration: "duration", plan.ParamSize: "size", plan.ParamPath: "path", plan.ParamEnum: "enum",
}

// TypeName is the manifest's word for a type, "" for an invalid one.
func TypeName(t plan.ParamType) string {
	if int(t) < len(types) {
		return types[t]
	}
	return ""
}

// TypeOf returns the type that a manifest's word names, 0 for another word.
func TypeOf(name string) plan.ParamType {
	for t, n := range types {
		if n == name && n != "" {
			return plan.ParamType(t)
		}
	}
	return 0
}

// Check tells whether a text can be a value of p. A value is handed over as
// it was written, so one spelling only of a number is accepted: no plus sign,
// no leading zero that would make it octal to some. A duration and a size are
// not negative. A path is only looked at as text; what it leads to is for
// whoever opens it. The error names the parameter and is for the caller.
func Check(p *plan.Param, value string) error {
	wrong := func(why string) error {
		return errors.New("--" + p.Name + said(p, value) + ": " + why)
	}
	if strings.IndexByte(value, 0) >= 0 {
		return wrong("has a NUL byte")
	}
	if uint64(len(value)) > p.Max || len(value) > maxArg {
		return wrong("is longer than " + strconv.FormatUint(min(p.Max, maxArg), 10) + " bytes")
	}
	switch p.Type {
	case plan.ParamString:
		for i := 0; p.Chars != "" && i < len(value); i++ {
			if !permits(p, value[i]) {
				return wrong("has a byte that is not one of " + p.Chars)
			}
		}
		return nil
	case plan.ParamInt:
		digits, minus := strings.CutPrefix(value, "-")
		_, err := strconv.ParseInt(value, 10, 64)
		if err != nil || !decimal(digits) || minus && digits == "0" {
			return wrong("is not a whole number")
		}
	case plan.ParamFloat:
		f, err := strconv.ParseFloat(value, 64)
		if err != nil || math.IsInf(f, 0) || value[0] == '+' || strings.Trim(value, "0123456789.eE+-") != "" {
			return wrong("is not a number")
		}
	case plan.ParamBool:
		if value != "true" && value != "false" {
			return wrong("is not true or false")
		}
	case plan.ParamDuration:
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 || value[0] == '-' || value[0] == '+' {
			return wrong(`is not a duration such as "1m30s"`)
		}
	case plan.ParamSize:
		if !isSize(value) {
			return wrong(`is not a size such as "64M"`)
		}
	case plan.ParamPath:
		if value == "" {
			return wrong("is not a path")
		}
	case plan.ParamEnum:
		for _, v := range p.Values {
			if v == value {
				return nil
			}
		}
		return wrong("is not one of " + strings.Join(p.Values, ", "))
	default:
		return wrong("has a type that this version does not know (this is a bug)")
	}
	return nil
}

// permits tells whether the parameter's own set has the byte.
func permits(p *plan.Param, b byte) bool { return p.Set[b>>6]>>(b&63)&1 == 1 }

// mayDash tells whether a value that begins with '-' may become the beginning
// of an argument: when the manifest names the byte, or the whole value.
func mayDash(p *plan.Param) bool {
	return p.Type == plan.ParamEnum || p.Type == plan.ParamString && p.Chars != "" && permits(p, '-')
}

// decimal tells whether s is digits without a leading zero.
func decimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == "" && (s[0] != '0' || s == "0")
}

// isSize reads what a policy's sizes are: digits and an optional binary
// suffix, within 64 bits.
func isSize(s string) bool {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && decimal(s) && n <= math.MaxUint64>>shift
}

// quote shows a value in a message, not more of it than a line holds.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
