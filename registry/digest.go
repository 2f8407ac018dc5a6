package registry

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ManifestName is what the digest calls the manifest, whatever its file is
// called: a one-file bundle and a directory bundle without shipped files have
// the same digest when their manifests are the same.
const ManifestName = "bundle.yaml"

// digestPrefix separates these hashes from all others.
const digestPrefix = "sbx/v1 bundle\x00"

// digest is "sha256:HEX" of digestPrefix and, for the manifest and then each
// file by name: the length of the name in 8 bytes, big endian; the name; 1 for
// executable, else 0; the 32 bytes of the content's SHA-256. files are sorted
// by name.
func digest(manifest []byte, files []ShippedFile) string {
	h := sha256.New()
	h.Write([]byte(digestPrefix))
	entry := func(name string, executable bool, sum []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(name)))
		h.Write(length[:])
		h.Write([]byte(name))
		if executable {
			h.Write([]byte{1})
		} else {
			h.Write([]byte{0})
		}
		h.Write(sum)
	}
	sum := sha256.Sum256(manifest)
	entry(ManifestName, false, sum[:])
	for _, f := range files {
		sum, err := hex.DecodeString(f.SHA256)
		if err != nil || len(sum) != sha256.Size {
			panic("bug: digest of a shipped file is not SHA-256: " + f.SHA256)
		}
		entry(f.Name, f.Executable, sum)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
