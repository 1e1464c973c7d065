package hub

import (
	"context"
	"crypto/sha1" //nolint:gosec // git names small files by sha1; nothing is secured by it
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// stalled is how often a body may break off without a single new byte before we give up.
	stalled = 4
	chunk   = 256 << 10
)

// fetchBlob downloads the content of a file under its etag, going on where an earlier run stopped. The lock
// is the one that huggingface_hub takes, so a Python process and this one never write the same file.
func (d *download) fetchBlob(ctx context.Context, name string, remote remoteFile) error {
	blob := d.cache.blob(remote.etag)
	unlock, err := lockFile(ctx, d.cache.lock(remote.etag))
	if err != nil {
		return d.cacheError(err)
	}
	defer unlock()
	if st, err := os.Stat(blob); err == nil {
		d.progress(name, st.Size(), 0)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(blob), 0o755); err != nil {
		return d.cacheError(err)
	}
	part := blob + ".incomplete"
	for attempt := 1; ; attempt++ {
		if err := d.fill(ctx, name, part, remote); err != nil {
			return err
		}
		got, err := checksum(part, remote.etag)
		if err != nil {
			return d.cacheError(err)
		}
		if got == remote.etag || got == "" {
			break
		}
		// What is on disk is wrong, perhaps because of an earlier run: start over once.
		if err := os.Remove(part); err != nil {
			return d.cacheError(err)
		}
		d.progress(name, -max(remote.size, 0), 0)
		if attempt == 2 {
			return &Error{Kind: ErrUnavailable, Model: d.name, What: fmt.Sprintf("%s arrives damaged: its hash is %s, the hub says %s", name, got, remote.etag),
				Next: "Try again, or another HF_ENDPOINT"}
		}
	}
	if err := os.Rename(part, blob); err != nil {
		return d.cacheError(err)
	}
	return nil
}

// fill appends to part until it is complete.
func (d *download) fill(ctx context.Context, name, part string, remote remoteFile) error {
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return d.cacheError(err)
	}
	defer f.Close()
	at, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return d.cacheError(err)
	}
	if remote.size >= 0 && at > remote.size {
		at = 0
	}
	d.progress(name, at, 0)
	failures, pause := 0, 200*time.Millisecond
	for remote.size < 0 || at < remote.size {
		before := at
		at, err = d.body(ctx, name, f, at, remote.size)
		if err == nil && (remote.size < 0 || at == remote.size) {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		if errors.Is(err, ErrDenied) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) || isDisk(err) {
			return err
		}
		if at > before {
			failures = 0
		}
		if failures++; failures >= stalled {
			return d.client.transportError(fmt.Errorf("%s breaks off after %d bytes: %w", name, at, err))
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, 10*time.Second)
	}
	if err := f.Truncate(at); err != nil {
		return d.cacheError(err)
	}
	if err := f.Sync(); err != nil {
		return d.cacheError(err)
	}
	return nil
}

// body requests the rest of a file from position at and writes what comes; it returns the new position.
func (d *download) body(ctx context.Context, name string, f *os.File, at, size int64) (int64, error) {
	header := http.Header{}
	if at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", at))
	}
	resp, err := d.client.get(ctx, d.commit, name, header)
	if err != nil {
		return at, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at)):
	case resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		// Ranges are not understood here: begin again.
		d.progress(name, -at, 0)
		at = 0
		if resp.StatusCode != http.StatusOK {
			return at, errors.New("the server refuses to continue at that position")
		}
	default:
		return at, d.client.statusError(resp, name)
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return at, &diskError{err}
	}
	buf := make([]byte, chunk)
	for {
		n, readErr := resp.Body.Read(buf)
		if size >= 0 && at+int64(n) > size {
			n = int(size - at)
			readErr = errors.New("more bytes arrive than the hub announced")
		}
		if n > 0 {
			if _, err := f.Write(buf[:n]); err != nil {
				return at, &diskError{err}
			}
			at += int64(n)
			d.progress(name, int64(n), 0)
		}
		if errors.Is(readErr, io.EOF) {
			return at, nil
		}
		if readErr != nil {
			return at, readErr
		}
	}
}

// diskError keeps a failed write apart from a failed transfer, which is tried again.
type diskError struct{ err error }

func (e *diskError) Error() string { return "write to the cache: " + e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

func isDisk(err error) bool {
	var d *diskError
	return errors.As(err, &d)
}

func (d *download) cacheError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Kind: ErrInvalid, Model: d.name, What: "cannot write to the cache " + d.opts.CacheDir, Err: err, Next: "Check free space and HF_HOME"}
}

// checksum computes the hash of a file in the kind that its etag is: sha256 for large files, git's blob
// hash for small ones, "" for etags of other kinds, which some mirrors give.
func checksum(path, etag string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var h hash.Hash
	switch {
	case len(etag) == 64 && isHex(etag):
		h = sha256.New()
	case len(etag) == 40 && isHex(etag):
		st, err := f.Stat()
		if err != nil {
			return "", err
		}
		h = sha1.New() //nolint:gosec // see above
		fmt.Fprintf(h, "blob %d\x00", st.Size())
	default:
		return "", nil
	}
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func isHex(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && s == strings.ToLower(s)
}

// lockFile takes the exclusive lock of a file, waiting for other processes until ctx ends.
func lockFile(ctx context.Context, path string) (func(), error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // closing releases the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}
