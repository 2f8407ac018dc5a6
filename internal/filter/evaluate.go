package filter

// Evaluate returns what rs says of a call of the native ABI, read off the
// ruleset itself: the meaning that Compile must keep. With ExecOnce no
// execveat passes, since its secret is drawn only at launch.
func (rs Ruleset) Evaluate(nr uint32, args [6]uint64) Verdict {
	if rs.Arch == "amd64" && nr >= x32Bit {
		return foreign
	}
	if rs.ExecOnce {
		switch execve, execveat := execNumbers(rs.Arch); nr {
		case execve:
			return rs.ExecveVerdict
		case execveat:
			return rs.ExecveatVerdict
		}
	}
	call, ok := rs.Calls[nr]
	if !ok {
		return rs.Default
	}
	for _, rule := range call.Rules {
		if rule.holds(args) {
			return rule.Verdict
		}
	}
	return call.Default
}

func (r Rule) holds(args [6]uint64) bool {
	for _, t := range r.Tests {
		if !t.holds(args[t.Index]) {
			return false
		}
	}
	return true
}

// holds compares without sign, as the kernel's BPF does.
func (t Test) holds(arg uint64) bool {
	if !t.Wide {
		arg = uint64(uint32(arg))
	}
	switch t.Op {
	case Equal:
		return arg == t.Value
	case NotEqual:
		return arg != t.Value
	case Less:
		return arg < t.Value
	case LessOrEqual:
		return arg <= t.Value
	case Greater:
		return arg > t.Value
	case GreaterOrEqual:
		return arg >= t.Value
	case MaskedEqual:
		return arg&t.Mask == t.Value
	}
	return false
}
