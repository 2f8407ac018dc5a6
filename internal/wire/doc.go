// Package wire is what sbx and the daemon say to each other on the run
// socket, a Unix socket of kind seqpacket. Use [Conn] for the messages and
// [Request], [Need] and [Report] for what is in them.
//
//	client                                 daemon
//	Request (0, 1, 2, working directory) ──>
//	                                   <── Need: paths to open, when there are any
//	Given (their descriptors)          ──>
//	                                   <── Begun (init's pid)
//	Signal, any number                 ──>
//	                                   <── Done (the report)
//
// or, instead of all that follows the request, Elsewhere: the daemon has
// nothing to do with this call, and the client runs it by itself; or Wanted:
// the client reads descriptors of its own for secret parameters, which may take
// as long as whoever writes them likes, and asks once more, on a new connection,
// with what they hold. The daemon keeps nothing of the first request. The end
// of the client's side, at any step, ends the run.
//
// A message is a type byte and a body. What does not fit into one packet is
// cut into several, each of which says that more will come; descriptors come
// with the first. Integers are little endian and of fixed width, strings and
// lists carry a 32-bit length. It is linked into the small executable and
// into the daemon, so there is no encoding/json and no reflection; both sides
// are of one build or refuse each other ([Version]).
package wire
