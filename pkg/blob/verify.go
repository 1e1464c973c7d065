package blob

import (
	"encoding/hex"
	"fmt"
	"hash"
	"io"
)

// verifier passes bytes through and fails instead of ending when they are not
// those of the digest, so that an upload of wrong bytes is never completed.
type verifier struct {
	r    io.Reader
	h    hash.Hash
	want string
	left int64 // bytes still to come
	key  string
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	v.left -= int64(n)
	if err != nil && err != io.EOF {
		return n, err
	}
	// The check must happen before the last bytes are handed over: the client
	// stops reading at the announced size and never sees an EOF.
	if v.left < 0 || (err == io.EOF && v.left > 0) {
		return 0, v.wrong("the file changed its size while it was sent")
	}
	if v.left == 0 {
		if got := digestPrefix + hex.EncodeToString(v.h.Sum(nil)); got != v.want {
			return 0, v.wrong("the file changed while it was sent, it now has digest " + got)
		}
	}
	return n, err
}

func (v *verifier) wrong(why string) error {
	return &Error{Op: "put", Key: v.key, Kind: ErrDigest, Err: fmt.Errorf("%s", why)}
}
