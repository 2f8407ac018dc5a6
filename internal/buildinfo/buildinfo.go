// Package buildinfo says which build this is.
package buildinfo

// Version is the release, a semver.
const Version = "0.3.0"

// Build identifies the sources that this executable was built from; `make
// build` sets it to a digest of them (-ldflags -X). A plan made by another
// build is stale.
var Build = "dev"

// Project tells this sbx from other programs of the name.
const Project = "registered commands in one-shot Linux sandboxes"
