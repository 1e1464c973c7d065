package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// digestCache remembers the hashes of files, so that the weights of a large model are not read through at
// every start. An entry is a small file named by path, inode, size and times of the file that it speaks of.
type digestCache struct{ dir string }

// settled is how old a change must be to be remembered: within one tick of the file system's clock a
// second change could leave the times as they are.
const settled = 2 * time.Second

// sha256 returns the hexadecimal hash and the size of a file.
func (c digestCache) sha256(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	entry := filepath.Join(c.dir, c.key(path, st))
	if sum, err := os.ReadFile(entry); err == nil && len(sum) == 64 {
		return string(sum), st.Size(), nil
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return "", 0, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if time.Since(st.ModTime()) > settled {
		// A cache that cannot be written costs time, not correctness.
		_ = replaceFile(entry, []byte(sum))
	}
	return sum, st.Size(), nil
}

func (c digestCache) key(path string, st os.FileInfo) string {
	var inode, changed int64
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode, changed = int64(sys.Ino), statChanged(sys)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		abs = path
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d\x00%d\x00%d", abs, inode, st.Size(), st.ModTime().UnixNano(), changed))
	return hex.EncodeToString(h[:20])
}

// replaceFile writes a small file under a temporary name and renames it.
func replaceFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(tmp.Name(), 0o644)
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
