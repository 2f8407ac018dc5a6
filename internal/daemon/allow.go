package daemon

import (
	"os/user"
	"slices"
	"strconv"
)

// allowed tells whether the caller may run a command (SPEC 3, allow). Root
// may run everything. A name that the host does not know allows nobody.
//
// Trust boundary. Who controls the input: the manifest's author names users
// and groups, the kernel says who the caller is. What privilege is held: the
// daemon's. What has been checked: the manifest's form. What fails closed: a
// name that cannot be resolved, and a caller whose groups the kernel does not
// tell, are not let in by it.
func allowed(c *Caller, cmd *Command) bool { return c.May(cmd.Users, cmd.Groups) }

// May is what the daemon decides of a manifest's `allow`, for who shows it.
func (c *Caller) May(users, groups []string) bool {
	if c.UID == 0 || len(users) == 0 && len(groups) == 0 {
		return true
	}
	for _, name := range users {
		if id, ok := number(name, userID); ok && id == c.UID {
			return true
		}
	}
	for _, name := range groups {
		if id, ok := number(name, groupID); ok && (id == c.GID || slices.Contains(c.Groups, id)) {
			return true
		}
	}
	return false
}

// number resolves a name, which may be a number.
func number(name string, resolve func(string) (string, error)) (uint32, bool) {
	text, err := resolve(name)
	if err != nil {
		text = name
	}
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil
}

func userID(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return u.Uid, nil
}

func groupID(name string) (string, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}
