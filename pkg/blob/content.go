package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// digestPrefix starts every digest in this project.
const digestPrefix = "sha256:"

// Digest returns the digest of data, "sha256:<hex>".
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// DigestFile returns the digest and the size in bytes of a file.
func DigestFile(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", 0, fmt.Errorf("read %s: %w", path, err)
	}
	return digestPrefix + hex.EncodeToString(h.Sum(nil)), n, nil
}

// ContentKey returns the key under which the content of a digest lies.
func ContentKey(digest string) (string, error) {
	sum, ok := strings.CutPrefix(digest, digestPrefix)
	if raw, err := hex.DecodeString(sum); !ok || err != nil || len(raw) != sha256.Size || strings.ToLower(sum) != sum {
		return "", fmt.Errorf("digest %q is not sha256:<64 lower-case hex digits>", digest)
	}
	return "blobs/sha256/" + sum, nil
}

// PutContent stores data under its own digest and returns the digest. Content
// that is there already is not sent again.
func (s *Store) PutContent(ctx context.Context, data []byte) (string, error) {
	digest := Digest(data)
	err := s.putContent(ctx, digest, int64(len(data)), func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(data))), nil
	})
	return digest, err
}

// PutContentFile stores a file under its own digest and returns digest and
// size in bytes.
func (s *Store) PutContentFile(ctx context.Context, path string) (string, int64, error) {
	digest, size, err := DigestFile(path)
	if err != nil {
		return "", 0, err
	}
	err = s.putContent(ctx, digest, size, func() (io.ReadCloser, error) { return os.Open(path) })
	return digest, size, err
}

// putContent sends what open gives and verifies on the way that it is still
// what the digest names: a file may change between hashing and sending.
func (s *Store) putContent(ctx context.Context, digest string, size int64, open func() (io.ReadCloser, error)) error {
	key, err := ContentKey(digest)
	if err != nil {
		return err
	}
	if info, err := s.Stat(ctx, key); err == nil && info.Size == size {
		return nil
	} else if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	body, err := open()
	if err != nil {
		return err
	}
	defer body.Close()
	return s.Put(ctx, key, &verifier{r: body, h: sha256.New(), want: digest, left: size, key: key}, size)
}

// PutFile writes a file under key, replacing what is there.
func (s *Store) PutFile(ctx context.Context, key, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("put object %q: %w", key, err)
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return fmt.Errorf("put object %q: %w", key, err)
	}
	return s.Put(ctx, key, f, stat.Size())
}

// GetContent returns the content of a digest, verified, of at most limit bytes.
func (s *Store) GetContent(ctx context.Context, digest string, limit int64) ([]byte, error) {
	key, err := ContentKey(digest)
	if err != nil {
		return nil, err
	}
	data, err := s.Read(ctx, key, limit)
	if err != nil {
		return nil, err
	}
	if got := Digest(data); got != digest {
		return nil, &Error{Op: "get", Key: key, Kind: ErrDigest, Err: fmt.Errorf("content has digest %s", got)}
	}
	return data, nil
}

// GetContentFile writes the content of a digest to path; see [Store.GetFile].
func (s *Store) GetContentFile(ctx context.Context, digest, path string) error {
	key, err := ContentKey(digest)
	if err != nil {
		return err
	}
	return s.GetFile(ctx, key, path, digest)
}

// GetFile writes the object under key to path: to a temporary file in the same
// folder, synced, renamed. If digest is not empty, other bytes are refused with
// [ErrDigest] and path is left as it was.
func (s *Store) GetFile(ctx context.Context, key, path, digest string) (err error) {
	body, info, err := s.Get(ctx, key)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("get object %q: %w", key, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return fmt.Errorf("get object %q: %w", key, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // closed twice at worst; the first error is the one to tell
			_ = os.Remove(f.Name())
		}
	}()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), body)
	if err != nil {
		return err
	}
	if n != info.Size {
		return &Error{Op: "get", Key: key, Kind: ErrUnavailable, Err: fmt.Errorf("got %d of %d bytes", n, info.Size)}
	}
	if got := digestPrefix + hex.EncodeToString(h.Sum(nil)); digest != "" && got != digest {
		return &Error{Op: "get", Key: key, Kind: ErrDigest, Err: fmt.Errorf("content has digest %s, wanted %s", got, digest)}
	}
	return settle(f, path)
}

// settle makes a finished temporary file appear under path.
func settle(f *os.File, path string) error {
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
