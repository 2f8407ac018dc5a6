package sign

// Verdict is what the API and the audit log say of every *UntrustedError:
// refuse and alert (SPEC 3, Trust). A command answers it with exit status 126.
const Verdict = 412

// Reason says why a bundle is not believed.
type Reason uint8

// The reasons. The zero value is invalid.
const (
	// Unsigned: no signature, and one is required.
	Unsigned Reason = iota + 1
	// BadSignature: not a signature, or not of this name and digest.
	BadSignature
	// UnknownKey: made by a key that no publisher has.
	UnknownKey
	// NotAllowed: a good signature by a publisher who may not publish this
	// name.
	NotAllowed
	// RevokedDigest: these bytes were taken back.
	RevokedDigest
	// RevokedKey: the key was taken back.
	RevokedKey
)

// reasons are the words of audit records and JSON.
var reasons = [...]string{
	Unsigned: "unsigned", BadSignature: "bad-signature", UnknownKey: "unknown-key",
	NotAllowed: "not-allowed", RevokedDigest: "revoked-digest", RevokedKey: "revoked-key",
}

// String is the reason's one word in audit records and JSON.
func (r Reason) String() string {
	if int(r) < len(reasons) && reasons[r] != "" {
		return reasons[r]
	}
	return "invalid"
}

// UntrustedError says that a bundle is not to be parsed: verdict 412.
type UntrustedError struct {
	Reason Reason
	// Name and Digest are the bundle's.
	Name, Digest string
	// KeyID is the id that the signature names; empty when there is none.
	KeyID string
	// File is the publishers file that decided.
	File string
	// Err is what a bad signature is, or nil.
	Err error
}

// Error names the bundle, the reason and the file that decided.
func (e *UntrustedError) Error() string {
	switch e.Reason {
	case Unsigned:
		return e.Name + ": not signed, and " + e.File + " requires a signature"
	case BadSignature:
		if e.Err != nil {
			return e.Name + ": " + e.Err.Error()
		}
		return e.Name + ": the signature of key " + e.KeyID + " is not for this name and content"
	case UnknownKey:
		return e.Name + ": signed by key " + e.KeyID + ", which " + e.File + " does not have"
	case NotAllowed:
		return e.Name + ": signed by key " + e.KeyID + ", which " + e.File + " does not let publish this name"
	case RevokedDigest:
		return e.Name + ": " + e.Digest + " is revoked by " + e.File
	case RevokedKey:
		return e.Name + ": signed by key " + e.KeyID + ", which is revoked by " + e.File
	}
	return e.Name + ": not trusted (bug: no reason)"
}

// Unwrap returns Err.
func (e *UntrustedError) Unwrap() error { return e.Err }

// Hint names what an operator does next.
func (e *UntrustedError) Hint() string {
	switch e.Reason {
	case Unsigned:
		return "sbx sign PATH --key FILE"
	case BadSignature:
		return "it changed after it was signed, or the signature is another bundle's: sbx verify PATH"
	case UnknownKey:
		return "sbx verify PATH --key PUB shows whether the key is the one you expect"
	case NotAllowed:
		return "the publisher's commands: list says which names"
	case RevokedDigest, RevokedKey:
		return "publish a new version, signed by a key that is not revoked"
	}
	return ""
}
