package bus

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
)

// AdvertRenewal is how often an inference worker should write its [pb.WorkerAdvert] even if nothing
// has changed; after three times that without a word it is gone.
const AdvertRenewal = advertTTL / 3

// AdapterReady is the [pb.AdapterState] of an adapter that answers at once on a worker.
const AdapterReady = "ready"

// Advert is what a worker says of itself, or that it is gone.
type Advert struct {
	Worker string
	// Info is nil when the worker is gone.
	Info *pb.WorkerAdvert
	// Current marks, in a watch and without a worker, that all that was there has been told.
	Current bool
}

// PutAdvert writes what an inference worker says about the requests that it can take.
func (b *Bus) PutAdvert(ctx context.Context, advert *pb.WorkerAdvert) error {
	if err := checkToken("worker id", advert.GetId()); err != nil {
		return err
	}
	advert = Clone(advert)
	advert.UpdatedAt = Timestamp(time.Now())
	data, err := proto.Marshal(advert)
	if err != nil {
		return fmt.Errorf("encode the advert of worker %s: %w", advert.GetId(), err)
	}
	_, err = (&Bucket{b.serving}).Put(ctx, advert.GetId(), data)
	return err
}

// RemoveAdvert takes the advert of a worker that ends away.
func (b *Bus) RemoveAdvert(ctx context.Context, worker string) error {
	return (&Bucket{b.serving}).Delete(ctx, worker, 0)
}

// Adverts lists the adverts of the inference workers that are alive, by id.
func (b *Bus) Adverts(ctx context.Context) ([]*pb.WorkerAdvert, error) {
	var all []*pb.WorkerAdvert
	for one, err := range b.WatchAdverts(ctx) {
		if err != nil {
			return nil, fmt.Errorf("list adverts: %w", err)
		}
		if one.Current {
			return all, nil
		}
		if one.Info != nil {
			all = append(all, one.Info)
		}
	}
	return nil, fmt.Errorf("list adverts: %w", context.Cause(ctx))
}

// WatchAdverts yields every advert there is, then one with Current set, then every change until ctx
// ends; that a worker is gone is told also when its advert expired. Who watches lists again from time
// to time all the same, since a message can get lost.
func (b *Bus) WatchAdverts(ctx context.Context) iter.Seq2[Advert, error] {
	return func(yield func(Advert, error) bool) {
		for entry, err := range (&Bucket{b.serving}).Watch(ctx, ">") {
			one := Advert{Worker: entry.Key, Current: entry.Current}
			if err == nil && !entry.Current && !entry.Deleted {
				one.Info = new(pb.WorkerAdvert)
				if broken := proto.Unmarshal(entry.Value, one.Info); broken != nil {
					b.log.Warn("skipped an advert that cannot be read", "worker", entry.Key, "error", broken)
					continue
				}
			}
			if !yield(one, err) {
				return
			}
		}
	}
}
