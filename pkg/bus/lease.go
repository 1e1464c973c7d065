package bus

import (
	"context"
	"errors"
	"fmt"
)

// Lease says that its owner is alive and at work. It expires by itself when the
// owner stops renewing it for an AckWait.
type Lease struct {
	bucket *Bucket
	key    string
	owner  string
	rev    uint64
}

// Acquire takes the lease of a key for owner, or returns [ErrExists] while
// another owner holds it. The same owner may take it again, after a restart.
func (b *Bus) Acquire(ctx context.Context, key, owner string) (*Lease, error) {
	lease := &Lease{bucket: &Bucket{b.leases}, key: key, owner: owner}
	rev, err := lease.bucket.Create(ctx, key, []byte(owner))
	if errors.Is(err, ErrExists) {
		rev, err = lease.again(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("take lease %s: %w", key, err)
	}
	lease.rev = rev
	return lease, nil
}

func (l *Lease) again(ctx context.Context) (uint64, error) {
	held, err := l.bucket.Get(ctx, l.key)
	if err != nil {
		return 0, err
	}
	if string(held.Value) != l.owner {
		return 0, fmt.Errorf("held by %s: %w", held.Value, ErrExists)
	}
	return l.bucket.Update(ctx, l.key, []byte(l.owner), held.Revision)
}

// Renew keeps the lease for another AckWait. One that has expired is taken
// again if nobody else has; else [ErrStale].
func (l *Lease) Renew(ctx context.Context) error {
	rev, err := l.bucket.Update(ctx, l.key, []byte(l.owner), l.rev)
	if errors.Is(err, ErrStale) {
		if _, there := l.bucket.Get(ctx, l.key); errors.Is(there, ErrNotFound) {
			again, created := l.bucket.Create(ctx, l.key, []byte(l.owner))
			if created == nil {
				rev, err = again, nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", l.key, err)
	}
	l.rev = rev
	return nil
}

// Release gives the lease up; one that is lost already is fine.
func (l *Lease) Release(ctx context.Context) error {
	err := l.bucket.Delete(ctx, l.key, l.rev)
	if errors.Is(err, ErrStale) {
		return nil
	}
	return err
}

// LeaseOwner tells who holds the lease of a key, or [ErrNotFound].
func (b *Bus) LeaseOwner(ctx context.Context, key string) (string, error) {
	held, err := (&Bucket{b.leases}).Get(ctx, key)
	return string(held.Value), err
}

// JobLease is the key of a job's lease, as [Bus.Work] takes it.
func JobLease(job string) string { return "job." + job }
