// Package daemon is `sbx serve`: a socket on which local users ask for runs,
// and what answers them. What happens is told to an [Observer].
//
// The promise: a caller is who the kernel says he is, and gets what the
// command's policy gives, with his own ids and never with more; his death ends
// his run, the daemon's death ends all of them; a slow, dead, silent or lying
// client costs the others nothing but the bounded room that it is given. It
// does not protect from a caller's use of a command that he may run.
package daemon
