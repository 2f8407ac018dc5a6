package wire

// MaxSecret bounds what is read for one secret parameter, in bytes: an argument
// of the kernel's, which has MAX_ARG_STRLEN with its NUL (execve(2)).
const MaxSecret = 128 << 10

// maxSecretErr bounds the reason for which there is no value: an error of read(2)
// with some words.
const maxSecretErr = 512

// Secret is what a descriptor of the client's holds, for a secret parameter.
// It is in a Request and nowhere else: no message, record or report has it.
type Secret struct {
	// FD is the number that the caller wrote.
	FD int
	// Value is all of it, up to its end.
	Value string
	// Err is why there is no value; it is shown.
	Err string
}

// NewSecret is a Secret of what was read, or of the error that came instead.
func NewSecret(fd int, value string, err error) Secret {
	if err == nil {
		return Secret{FD: fd, Value: value}
	}
	text := err.Error()
	return Secret{FD: fd, Err: text[:min(len(text), maxSecretErr)]}
}

// Wanted are descriptors that the client is to read to their end with its own
// rights, and to ask again.
type Wanted []WantedFD

// WantedFD is one of them.
type WantedFD struct {
	// FD is its number in the client, as its words have it.
	FD int
	// Limit is how many bytes of it are of use; more is an error.
	Limit int
}

func (w *Wanted) walk(c codec) {
	list(c, (*[]WantedFD)(w), func(f *WantedFD) {
		num(c, &f.FD)
		num(c, &f.Limit)
	})
}

// Encode gives the body of a Wanted message.
func (w *Wanted) Encode() []byte { return encode(w.walk) }

// DecodeWanted reads the body of a Wanted message; ErrMalformed when it is not
// exactly one.
func DecodeWanted(b []byte) (Wanted, error) {
	var w Wanted
	if err := decode(b, w.walk); err != nil || len(w) == 0 {
		return nil, ErrMalformed
	}
	for _, f := range w {
		if f.FD < 0 || f.Limit < 0 || f.Limit > MaxSecret {
			return nil, ErrMalformed
		}
	}
	return w, nil
}
