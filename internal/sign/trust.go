package sign

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/sbx-project/sbx/internal/plan"
	"github.com/sbx-project/sbx/internal/safefs"
	"github.com/sbx-project/sbx/internal/yamlnode"
)

// Where publishers files are.
const (
	// SystemFile holds for every registry of the host; only uid 0 may own it.
	SystemFile = "/etc/sbx/publishers.yaml"
	// RegistryFile, in a registry, holds for that one; uid 0 or the
	// registry's owner may own it. Names with a dot in front are no bundles.
	RegistryFile = ".publishers.yaml"
)

// Trust is what the publishers files of a registry say together. The zero
// value is that of a host without any: everything is accepted, signatures are
// not looked at. It is immutable and safe for concurrent use.
type Trust struct{ files []*Publishers }

// Load reads SystemFile and the RegistryFile of the registry at registryDir;
// "" is the built-in registry, for which only the first holds. Both apply, the
// stricter wins: see [Trust.Verify]. The stamps are those of both files, Absent
// for one that is not there, and belong into every plan of the registry.
//
// The error is a *safefs.OwnerError, a *safefs.KindError, a *yamlnode.Error or
// an *os.PathError. With an error nothing of the registry may be loaded (exit
// status 126).
//
// Trust boundary. Any local user may try to put a file where one is looked
// for. The loader may hold root's rights. Nothing has been checked. A file of
// another owner, one that others may write and one that is not understood are
// errors, never a missing file.
func Load(registryDir string) (*Trust, []plan.Stamp, error) {
	return LoadFiles(SystemFile, registryDir)
}

// LoadFiles is Load with another path for the first file, which must be owned
// by uid 0 or the effective uid: for tests and for `sbx verify --publishers`.
// Either may be "".
func LoadFiles(system, registryDir string) (*Trust, []plan.Stamp, error) {
	t := &Trust{}
	var stamps []plan.Stamp
	if system != "" {
		p, stamp, err := readSystem(system)
		if err != nil {
			return nil, nil, err
		}
		t.add(p)
		stamps = append(stamps, stamp)
	}
	if registryDir != "" {
		p, stamp, err := readRegistry(registryDir)
		if err != nil {
			return nil, nil, err
		}
		t.add(p)
		stamps = append(stamps, stamp)
	}
	return t, stamps, nil
}

func (t *Trust) add(p *Publishers) {
	if p != nil {
		t.files = append(t.files, p)
	}
}

func readSystem(path string) (*Publishers, plan.Stamp, error) {
	f, err := safefs.OpenTrusted(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plan.Stamp{Path: path, Absent: true}, nil
	}
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, plan.Stamp{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if path == SystemFile && st.Uid != 0 {
		return nil, plan.Stamp{}, &safefs.OwnerError{Path: path, UID: st.Uid, Mode: st.Mode, Want: "uid 0"}
	}
	return read(f, path, &st)
}

func readRegistry(dir string) (*Publishers, plan.Stamp, error) {
	path := filepath.Join(dir, RegistryFile)
	root, err := safefs.OpenTrusted(dir)
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	defer root.Close()
	var top unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &top); err != nil {
		return nil, plan.Stamp{}, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	f, st, err := safefs.OpenBeneath(root, dir, RegistryFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, plan.Stamp{Path: path, Absent: true}, nil
	}
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	defer f.Close()
	if err := safefs.CheckOwner(path, &st); err != nil {
		return nil, plan.Stamp{}, err
	}
	// In a sticky directory of root's anybody may make the file: it would be
	// believed by the user who made it and by nobody else, so it must not be.
	if st.Uid != 0 && st.Uid != top.Uid {
		return nil, plan.Stamp{}, &safefs.OwnerError{Path: path, UID: st.Uid, Mode: st.Mode, Want: "uid 0 or the registry's owner"}
	}
	return read(f, path, &st)
}

// read reads and parses an open file whose owner was checked.
func read(f *os.File, path string, st *unix.Stat_t) (*Publishers, plan.Stamp, error) {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, plan.Stamp{}, &safefs.KindError{Path: path, Kind: "directory"}
	}
	if st.Nlink != 1 {
		return nil, plan.Stamp{}, &safefs.KindError{Path: path, Kind: "hard link"}
	}
	src, err := io.ReadAll(io.LimitReader(f, yamlnode.MaxSize+1)) // one more than Parse takes
	if err != nil {
		return nil, plan.Stamp{}, err
	}
	p, err := ParsePublishers(path, src)
	return p, plan.Stamp{
		Path: path, Dev: st.Dev, Ino: st.Ino, Size: st.Size,
		MtimeNs: st.Mtim.Nano(), CtimeNs: st.Ctim.Nano(),
	}, err
}

// Known reports whether there is any publishers file. Without one signatures
// are kept and not verified, which whoever prints says.
func (t *Trust) Known() bool { return len(t.files) > 0 }

// Required reports whether a bundle without a signature is refused.
func (t *Trust) Required() bool {
	for _, p := range t.files {
		if p.RequireSignature {
			return true
		}
	}
	return false
}

// Revoked reports whether a digest was taken back: such a revision is never
// loaded and never returned to.
func (t *Trust) Revoked(digest string) bool {
	return t.revokedBy(digest) != nil
}

func (t *Trust) revokedBy(digest string) *Publishers {
	for _, p := range t.files {
		if p.digests[digest] {
			return p
		}
	}
	return nil
}

// RevokedKey reports whether the key of an id that Verify returned was taken
// back since: by its id, or by a key of that id.
func (t *Trust) RevokedKey(id string) bool {
	for _, p := range t.files {
		if p.ids[id] {
			return true
		}
		for _, k := range p.keys {
			if k.ID() == id {
				return true
			}
		}
	}
	return false
}

// Verify decides whether the bundle of this name and digest may be parsed.
// signature is the content of its signature file, nil when there is none. The
// digest must have been taken over the raw bytes.
//
// Without a publishers file everything is accepted and keyID is empty. With
// one, a revoked digest is refused; a missing signature is refused when any
// file requires one, else accepted with an empty keyID; a signature that is
// there must be good, required or not, and keyID is its key's. With two files
// each must accept, but one that states no `publishers:` leaves who may
// publish to the other. The error is an *UntrustedError.
//
// Trust boundary. Who wrote the bundle controls digest and signature, the
// path gives the name. The loader may hold root's rights. The files' owners
// were checked by Load; nothing of the bundle was parsed. Whatever does not
// verify is refused.
func (t *Trust) Verify(name, digest string, signature []byte) (keyID string, err error) {
	if !t.Known() {
		return "", nil
	}
	refuse := func(why Reason, p *Publishers, cause error) (string, error) {
		return "", &UntrustedError{Reason: why, Name: name, Digest: digest, KeyID: keyID, File: p.File, Err: cause}
	}
	first := t.files[0]
	message, err := Message(name, digest)
	if err != nil {
		return refuse(BadSignature, first, err)
	}
	if p := t.revokedBy(digest); p != nil {
		return refuse(RevokedDigest, p, nil)
	}
	if signature == nil {
		for _, p := range t.files {
			if p.RequireSignature {
				return refuse(Unsigned, p, nil)
			}
		}
		return "", nil
	}
	s, err := ParseSignature(signature)
	if err != nil {
		return refuse(BadSignature, first, err)
	}
	keyID = s.KeyID
	stated := false
	for _, p := range t.files {
		stated = stated || p.List != nil
	}
	for _, p := range t.files {
		if p.List == nil && stated {
			continue
		}
		if why, by := t.accepts(p, name, keyID, message, signature); why != 0 {
			return refuse(why, by, nil)
		}
	}
	return keyID, nil
}

// accepts looks for a publisher of p whose key made the signature and who may
// publish name. It returns 0, or the reason and the file that decided.
func (t *Trust) accepts(p *Publishers, name, id string, message, signature []byte) (Reason, *Publishers) {
	why := UnknownKey
	for i := range p.List {
		for _, k := range p.List[i].Keys {
			if k.ID() != id {
				continue
			}
			if !k.verifies(message, signature) {
				if why == UnknownKey {
					why = BadSignature
				}
				continue
			}
			for _, by := range t.files {
				if by.revokes(k) {
					return RevokedKey, by
				}
			}
			if p.List[i].allows(name) {
				return 0, nil
			}
			why = NotAllowed
		}
	}
	for _, by := range t.files {
		if why != NotAllowed && by.ids[id] {
			return RevokedKey, by
		}
	}
	return why, p
}
