package plan

// ParamType is what a value of a declared parameter must be.
type ParamType uint8

// The types. The zero value is invalid: no value passes it.
const (
	// ParamString is any text without a NUL byte, of the bytes in Set when
	// Chars is not empty.
	ParamString ParamType = iota + 1
	// ParamInt is a decimal number of 64 bits with sign.
	ParamInt
	// ParamFloat is a finite decimal number.
	ParamFloat
	// ParamBool is true or false.
	ParamBool
	// ParamDuration is a wall time such as 1m30s.
	ParamDuration
	// ParamSize is a number of bytes with an optional suffix K, M, G or T.
	ParamSize
	// ParamPath is a path of the caller's; Access says what for.
	ParamPath
	// ParamEnum is one of Values.
	ParamEnum
)

// Access is what a path parameter is opened for.
type Access uint8

// The ways of access. The zero value is for parameters that are no path.
const (
	// AccessRead shows an existing file or tree read-only.
	AccessRead Access = iota + 1
	// AccessWrite shows an existing file or tree writable.
	AccessWrite
	// AccessCreate makes a regular file, or takes one that the caller owns.
	AccessCreate
)

// Param is one declared parameter.
type Param struct {
	Name string
	Type ParamType
	// List takes any number of values of Type.
	List bool
	// Chars is the set of permitted bytes as written, for people; Set holds
	// the same as bits, byte b in bit b%64 of Set[b/64]. Both are empty when
	// every byte is permitted.
	Chars string
	Set   [4]uint64
	// Max bounds one value in bytes.
	Max uint64
	// Values are the members of a ParamEnum.
	Values []string
	// Default is the value when the caller gives none; it counts only with
	// HasDefault.
	Default    string
	HasDefault bool
	Required   bool
	// Access is set for a ParamPath.
	Access Access
	// Position is 1 for the first value that may be given without its name;
	// 0: only by name.
	Position uint64
	// Secret: the caller gives @FD, the descriptor that the value is read
	// from, and no message or record repeats the value.
	Secret bool
	// Help is one line for people.
	Help string
}

// PartKind says what a Part of an argument becomes.
type PartKind uint8

// The kinds of parts. The zero value is invalid.
const (
	// PartText is Text as it is.
	PartText PartKind = iota + 1
	// PartParam is the value of the parameter; of a list, alone in its Word,
	// every value as an argument of its own.
	PartParam
	// PartFlag is Text when the bool parameter is true, and the end of its
	// Word when it is not.
	PartFlag
	// PartCwd is the caller's working directory.
	PartCwd
)

// Part is one piece of a Word. Values are put in its place and never looked
// at for templates again.
type Part struct {
	Kind PartKind
	Text string
	// Param is an index of Plan.Params, for PartParam and PartFlag.
	Param uint32
}

// Word is one argument that depends on the call: its parts, one after the
// other. It vanishes when one of them names a parameter without a value.
type Word []Part

func (p *Plan) walkParams(c codec) {
	c.str(&p.Summary)
	boolean(c, &p.Declared)
	for i := range resize(c, &p.Params) {
		p.Params[i].walk(c)
	}
	for i := range resize(c, &p.Words) {
		for j := range resize(c, (*[]Part)(&p.Words[i])) {
			part := &p.Words[i][j]
			num(c, &part.Kind)
			c.str(&part.Text)
			num(c, &part.Param)
		}
	}
}

func (p *Param) walk(c codec) {
	c.str(&p.Name)
	num(c, &p.Type)
	boolean(c, &p.List)
	c.str(&p.Chars)
	for i := range p.Set {
		c.u64(&p.Set[i])
	}
	c.u64(&p.Max)
	strs(c, &p.Values)
	c.str(&p.Default)
	boolean(c, &p.HasDefault)
	boolean(c, &p.Required)
	num(c, &p.Access)
	c.u64(&p.Position)
	boolean(c, &p.Secret)
	c.str(&p.Help)
}
