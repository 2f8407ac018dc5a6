package registry

import "github.com/sbx-project/sbx/internal/plan"

// Bundle is one loaded bundle: what its manifest says, and which bytes said
// so.
type Bundle struct {
	Manifest Manifest
	// Digest is "sha256:HEX" over names, executable bits and bytes of the
	// manifest and every shipped file.
	Digest string
	// Source is the manifest's bytes, at most 1 MiB, for excerpts in
	// messages. Not to be changed.
	Source []byte
	// Signature is the content of the signature file, as it was read: that
	// it is here does not say that it was verified. nil when there is none.
	Signature []byte
	// File is the manifest's path as shown in messages; for a built-in
	// bundle it is not a file of the host.
	File string
	// Dir is the absolute host path of the directory bundle; empty for a
	// one-file bundle.
	Dir string
	// Files are the shipped files of a directory bundle, sorted by Name.
	Files []ShippedFile
	// Stamps are the identities of the registry directory, the bundle's
	// directories, the manifest and its signature (Absent when there is
	// none). Empty for a built-in bundle.
	Stamps []plan.Stamp
	// Owner is the uid that owns the registry directory; 0 for a built-in
	// bundle.
	Owner uint32
}

// ShippedFile is one file of a directory bundle besides its manifest.
type ShippedFile struct {
	// Name is relative to the bundle, slash-separated and clean.
	Name string
	// Executable is set when an execute bit is.
	Executable bool
	Size       int64
	// SHA256 is the file's digest in hex.
	SHA256 string
	// Stamp identifies the file that was read; Stamp.Path is absolute.
	Stamp plan.Stamp
}

// Entry is one name of a registry.
type Entry struct {
	// Name is the dotted name.
	Name string
	// Group is set for a directory that only holds further names.
	Group bool
	// Shadowed is set by Sources for a command that an earlier source has.
	Shadowed bool
	// Err says why the name cannot be loaded; nil when nothing is known
	// against it.
	Err error
}
