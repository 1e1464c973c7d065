package bus

import (
	"context"
	"fmt"
	"time"

	"descant/pkg/pb"
)

// WorkerRenewal is how often a worker should write its [pb.WorkerInfo]; after
// three times that without a word it is gone from the list.
const WorkerRenewal = workerTTL / 3

// PutWorker writes what a worker says of itself.
func (b *Bus) PutWorker(ctx context.Context, info *pb.WorkerInfo) error {
	if err := checkToken("worker id", info.GetId()); err != nil {
		return err
	}
	info = Clone(info)
	info.UpdatedAt = Timestamp(time.Now())
	data, err := ToJSON(info)
	if err != nil {
		return err
	}
	_, err = (&Bucket{b.workers}).Put(ctx, info.Id, data)
	return err
}

// RemoveWorker takes a worker that ends off the list.
func (b *Bus) RemoveWorker(ctx context.Context, id string) error {
	return (&Bucket{b.workers}).Delete(ctx, id, 0)
}

// Workers lists the workers that are alive; kind "" means all.
func (b *Bus) Workers(ctx context.Context, kind string) ([]*pb.WorkerInfo, error) {
	entries, err := (&Bucket{b.workers}).List(ctx, ">")
	if err != nil {
		return nil, fmt.Errorf("list workers: %w", err)
	}
	var all []*pb.WorkerInfo
	for _, e := range entries {
		info := new(pb.WorkerInfo)
		if err := FromJSON(e.Value, info); err != nil {
			b.log.Warn("skipped a worker that cannot be read", "worker", e.Key, "error", err)
			continue
		}
		if kind == "" || info.Kind == kind {
			all = append(all, info)
		}
	}
	return all, nil
}
