package registry

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ReadStored reads the directory segment below dir as the bundle of a name,
// whatever the directory is called: that is how a store keeps bundles. path is
// dir's, for messages and stamps; the walk, the owners and the bounds are those
// of Dir.Read. dir stays the caller's. The error is an *os.PathError that
// matches fs.ErrNotExist when there is no such directory.
func ReadStored(dir *os.File, path, segment, name string) (Raw, error) {
	r := Raw{Name: name}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return Raw{}, fmt.Errorf("stat %q: %w", path, err)
	}
	if err := r.readDir(place{file: dir, path: path, st: st}, segment); err != nil {
		return Raw{}, err
	}
	r.Owner = st.Uid
	r.Digest = digest(r.Source, r.Files)
	return r, nil
}

// ContentDigest is the digest of a bundle with this manifest and these files,
// sorted by name, each with its SHA256.
func ContentDigest(manifest []byte, files []ShippedFile) string { return digest(manifest, files) }
