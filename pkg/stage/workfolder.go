package stage

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"descant/pkg/job"
)

// attemptPrefix begins the name of every work folder.
const attemptPrefix = "attempt-"

// WorkFolder is a folder for the files of one attempt. It is locked for as long as its process lives, so that [Sweep]
// can tell what a killed worker has left.
type WorkFolder struct {
	Dir  string
	lock *os.File
}

// NewWorkFolder makes a work folder below root.
func NewWorkFolder(root, id string) (*WorkFolder, error) {
	unlock, err := lockRoot(root)
	if err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	defer unlock()
	dir, err := os.MkdirTemp(root, attemptPrefix+id+"-*")
	if err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	lock, err := tryLock(dir)
	if err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "make work folder", errors.Join(err, os.RemoveAll(dir)))
	}
	return &WorkFolder{Dir: dir, lock: lock}, nil
}

// Remove deletes the folder with all that is in it.
func (w *WorkFolder) Remove() error {
	return errors.Join(os.RemoveAll(w.Dir), w.lock.Close())
}

// Sweep deletes the work folders below root whose processes are dead. What stays by mistake costs only room, so its
// errors go to the log.
func Sweep(root string, log *slog.Logger) {
	unlock, err := lockRoot(root)
	if err != nil {
		log.Warn("work folders of killed workers stay", "dir", root, "error", err)
		return
	}
	defer unlock()
	entries, err := os.ReadDir(root)
	if err != nil {
		log.Warn("work folders of killed workers stay", "dir", root, "error", err)
	}
	for _, entry := range entries {
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), attemptPrefix) {
			continue
		}
		dir := filepath.Join(root, entry.Name())
		lock, err := tryLock(dir)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue // its process is alive
		}
		if err == nil {
			err = errors.Join(os.RemoveAll(dir), lock.Close())
		}
		if err != nil {
			log.Warn("the work folder of a killed worker stays", "dir", dir, "error", err)
			continue
		}
		log.Info("the work folder of a killed worker is deleted", "dir", dir)
	}
}

// lockRoot keeps Sweep off a folder that is made but not locked yet.
func lockRoot(root string) (unlock func(), err error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // gives up the lock too
}

func tryLock(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
