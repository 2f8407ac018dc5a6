package wire

import "github.com/sbx-project/sbx/internal/plan"

// Need asks the client to open what its call names, with its own rights. The
// answer is a Given message with one descriptor for each path, in order; or
// the end of the connection, when the client refuses (it has said why).
type Need struct {
	// Cwd: the run would show the caller's working directory, for Access. The
	// client looks whether it wants that.
	Cwd    bool
	Access plan.Access
	// Paths are the values of path parameters.
	Paths []Path
}

// Path is one value of a path parameter.
type Path struct {
	// Param is the name of the parameter, for messages.
	Param  string
	Access plan.Access
	// Value is as the caller wrote it, relative to his working directory.
	Value string
}

// MaxPaths bounds the paths of one call: the kernel carries 253 descriptors
// with one message (SCM_MAX_FD of net/scm.h).
const MaxPaths = 250

func (n *Need) walk(c codec) {
	boolean(c, &n.Cwd)
	num(c, &n.Access)
	list(c, &n.Paths, func(p *Path) {
		c.str(&p.Param)
		num(c, &p.Access)
		c.str(&p.Value)
	})
}

// Encode gives the body of a Need message.
func (n *Need) Encode() []byte { return encode(n.walk) }

// DecodeNeed reads the body of a Need message; ErrMalformed when it is not
// exactly one.
func DecodeNeed(b []byte) (*Need, error) {
	n := &Need{}
	if err := decode(b, n.walk); err != nil || len(n.Paths) > MaxPaths {
		return nil, ErrMalformed
	}
	return n, nil
}
