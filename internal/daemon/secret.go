package daemon

import (
	"errors"
	"strconv"

	"github.com/sbx-project/sbx/internal/params"
	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/wire"
)

// wanted are the descriptors that secret parameters name and whose content did
// not come with the request; nil: it is all there. The caller reads them before
// he asks again, so that one that never ends, or never begins, holds nothing of
// the daemon's.
func (c *call) wanted(p *plan.Plan, values []params.Value) *wire.Wanted {
	all := params.Descriptors(p.Params, values)
	if len(all) == 0 {
		return nil
	}
	c.secrets = make(map[int]*wire.Secret, len(c.req.Secrets))
	for i := range c.req.Secrets {
		c.secrets[c.req.Secrets[i].FD] = &c.req.Secrets[i]
	}
	missing := false
	w := make(wire.Wanted, len(all))
	for i, d := range all {
		w[i] = wire.WantedFD(d)
		missing = missing || c.secrets[d.FD] == nil
	}
	if !missing {
		return nil
	}
	return &w
}

// secret is what the caller has read from a descriptor of his.
func (c *call) secret(fd, limit int) (string, error) {
	s := c.secrets[fd]
	switch {
	case s == nil:
		return "", errors.New("not read (this is a bug)")
	case s.Err != "":
		return "", errors.New(s.Err)
	case len(s.Value) > limit:
		return "", errors.New("more than " + strconv.Itoa(limit-1) + " bytes")
	}
	return s.Value, nil
}
