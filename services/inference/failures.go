package inference

import (
	"errors"
	"sync"
	"time"

	"descant/pkg/job"
)

// failures remembers for a while which adapters cannot be loaded, so that requests for a bad one do not
// keep the worker busy with it. What may pass is not remembered.
type failures struct {
	keep time.Duration

	mu    sync.Mutex
	byKey map[string]failure
}

type failure struct {
	err   error
	until time.Time
}

func newFailures(keep time.Duration) *failures {
	return &failures{keep: keep, byKey: map[string]failure{}}
}

// add remembers an error that will be the same again.
func (f *failures) add(key string, err error) {
	var classed *job.Error
	if !errors.As(err, &classed) || classed.Class == job.Infrastructure {
		return
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for other, one := range f.byKey {
		if now.After(one.until) {
			delete(f.byKey, other)
		}
	}
	if _, there := f.byKey[key]; !there {
		f.byKey[key] = failure{err, now.Add(f.keep)}
	}
}

// recent returns the error of a recent load, or nil.
func (f *failures) recent(key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if one, there := f.byKey[key]; there && time.Now().Before(one.until) {
		return one.err
	}
	return nil
}
