package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sbx-project/sbx/registry"
	"github.com/sbx-project/sbx/registry/life"
)

// Bounds of what is read.
const (
	// shards divide the command table by a hash of the name, so that one
	// change among 10,000 commands writes 40 of them. Twice as many make the
	// root object, written each time, larger than a shard.
	shards = 256
	// maxObject bounds a root object or a shard, in bytes. A shard of 40
	// commands with 8 revisions each has 200 KiB.
	maxObject = 64 << 20
	// maxCommands bounds the table as the registry bounds its names.
	maxCommands = 100_000
	// maxText bounds who and why, in bytes.
	maxText = 1000
	// maxGeneration is 2^53-1: beyond it JSON readers lose digits.
	maxGeneration = 1<<53 - 1
)

// rootPrefix begins a root object; its sha256 in hex and a newline follow, and
// then the JSON that was hashed.
const rootPrefix = "sbx-generation/v1 "

// root is one generation: which shards make its table.
type root struct {
	Generation uint64    `json:"generation"`
	Time       time.Time `json:"time"`
	By         string    `json:"by"`
	Why        string    `json:"why"`
	Changed    []string  `json:"changed"`
	// Parent is the generation that this one was made from; nil for the
	// first.
	Parent *link `json:"parent"`
	// Commands counts those of all shards.
	Commands int `json:"commands"`
	// Shards are by number in two hex digits; those without commands are
	// not there.
	Shards map[string]reference `json:"shards"`
}

// counts tells whether nothing but counts changed.
func (r *root) counts() bool { return len(r.Changed) == 0 && r.Parent != nil }

// link names a root object by number and by the sha256 of its bytes in hex.
type link struct {
	Generation uint64 `json:"generation"`
	SHA256     string `json:"sha256"`
}

// reference names a shard by the sha256 of its bytes in hex.
type reference struct {
	SHA256   string `json:"sha256"`
	Commands int    `json:"commands"`
}

// shard is some commands, sorted by name.
type shard struct {
	Commands []life.Command `json:"commands"`
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// shardOf is the number of the shard that holds a name: FNV-1a, folded to
// eight bits.
func shardOf(name string) int {
	h := uint32(2166136261)
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	return int((h ^ h>>8 ^ h>>16 ^ h>>24) % shards)
}

func shardKey(n int) string { return fmt.Sprintf("%02x", n) }

func damagedf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// decodeStrict decodes JSON that json.Marshal would write for the value in the
// same bytes: no unknown, repeated or differently spelt key, nothing before
// or after it.
func decodeStrict(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return damagedf("%v", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return damagedf("something follows the value")
	}
	again, err := json.Marshal(into)
	if err != nil {
		return damagedf("%v", err)
	}
	if !bytes.Equal(again, data) {
		return damagedf("not in the form that is written")
	}
	return nil
}

// encodeRoot is decodeRoot's inverse.
func encodeRoot(r *root) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return append([]byte(rootPrefix+sum(body)+"\n"), body...), nil
}

// decodeRoot verifies and decodes the root object of a generation. Errors
// match ErrDamaged.
//
// Trust boundary. Whoever may write the state, and a failing disk, control the
// bytes. The loader may hold root's rights. The owner was checked; nothing
// else. The hash is compared before anything is parsed, and every count, name
// and digest has bounds; what does not fit is damaged.
func decodeRoot(generation uint64, data []byte) (*root, error) {
	head, body, ok := bytes.Cut(data, []byte("\n"))
	if !ok || string(head) != rootPrefix+sum(body) {
		return nil, damagedf("the root object does not have its hash")
	}
	var r root
	if err := decodeStrict(body, &r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if r.Generation != generation {
		return nil, damagedf("the root object is that of generation %d", r.Generation)
	}
	return &r, nil
}

func (r *root) check() error {
	switch {
	case r.Generation == 0 || r.Generation > maxGeneration:
		return fmt.Errorf("no generation %d", r.Generation)
	case r.Parent != nil && (r.Parent.Generation == 0 || r.Parent.Generation >= r.Generation || !isSum(r.Parent.SHA256)):
		return fmt.Errorf("parent of generation %d is %+v", r.Generation, *r.Parent)
	case len(r.By) > maxText || len(r.Why) > maxText || !utf8.ValidString(r.By) || !utf8.ValidString(r.Why):
		return fmt.Errorf("who or why is longer than %d bytes or not UTF-8", maxText)
	case r.Commands < 0 || r.Commands > maxCommands:
		return fmt.Errorf("%d commands", r.Commands)
	case r.Changed == nil || len(r.Changed) > 2*maxCommands:
		return fmt.Errorf("%d changed names", len(r.Changed))
	case r.Shards == nil:
		return fmt.Errorf("no shards")
	}
	for i, name := range r.Changed {
		if err := registry.CheckName(name); err != nil {
			return err
		}
		if i > 0 && name <= r.Changed[i-1] {
			return fmt.Errorf("changed names are not sorted at %q", name)
		}
	}
	total := 0
	for key, ref := range r.Shards {
		if len(key) != 2 || strings.Trim(key, "0123456789abcdef") != "" || !isSum(ref.SHA256) || ref.Commands < 1 || ref.Commands > maxCommands {
			return fmt.Errorf("shard %q is %+v", key, ref)
		}
		total += ref.Commands
	}
	if total != r.Commands {
		return fmt.Errorf("%d commands, %d in the shards", r.Commands, total)
	}
	return nil
}

func isSum(s string) bool { return life.IsDigest("sha256:" + s) }

// encodeShard encodes commands, which it sorts.
func encodeShard(commands []life.Command) ([]byte, error) {
	slices.SortFunc(commands, func(a, b life.Command) int { return strings.Compare(a.Name, b.Name) })
	return json.Marshal(&shard{Commands: commands})
}

// decodeShard verifies and decodes the shard of a number. The trust boundary is
// that of decodeRoot.
func decodeShard(number int, want reference, data []byte) ([]life.Command, error) {
	if sum(data) != want.SHA256 {
		return nil, damagedf("it does not have its hash")
	}
	var s shard
	if err := decodeStrict(data, &s); err != nil {
		return nil, err
	}
	if len(s.Commands) != want.Commands {
		return nil, damagedf("%d commands instead of %d", len(s.Commands), want.Commands)
	}
	for i, c := range s.Commands {
		if err := checkCommand(c.Name, c); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if shardOf(c.Name) != number {
			return nil, damagedf("%q does not belong there", c.Name)
		}
		if i > 0 && c.Name <= s.Commands[i-1].Name {
			return nil, damagedf("not sorted at %q", c.Name)
		}
	}
	return s.Commands, nil
}

func checkCommand(name string, c life.Command) error {
	if err := registry.CheckName(name); err != nil {
		return err
	}
	if c.Name != name {
		return fmt.Errorf("%q is called %q", name, c.Name)
	}
	if err := c.Check(); err != nil {
		return fmt.Errorf("command %q: %w", name, err)
	}
	return nil
}

// sortedKeys are the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
