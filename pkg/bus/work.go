package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
)

// Task is work in the hands of a handler.
type Task struct {
	// Work names stage, job and the epoch that the job had.
	Work *pb.Work
	// Attempt is compared with Options.Attempts when the handler fails. It
	// starts as the number of deliveries; a handler that counts attempts in the
	// job's record sets it from there.
	Attempt int
	// Delivered counts the deliveries of the message, this one included.
	Delivered uint64
	// Stopping is closed when the worker shall hand its work back.
	Stopping <-chan struct{}

	bus   *Bus
	d     *delivery
	lease *Lease

	mu   sync.Mutex
	beat time.Time
}

// Record reads the job of the task. A record older than the work is an error
// that is worth a retry: a replica that lags.
func (t *Task) Record(ctx context.Context) (Record, error) {
	rec, err := t.bus.Job(ctx, t.Work.GetJob())
	if err != nil {
		return Record{}, err
	}
	if rec.Job.GetEpoch() < t.Work.GetEpoch() {
		return Record{}, Retry(fmt.Errorf("record of job %s has epoch %d, its work %d", t.Work.GetJob(), rec.Job.GetEpoch(), t.Work.GetEpoch()), time.Second)
	}
	return rec, nil
}

// Heartbeat tells the server and the lease that the work goes on. The loop that
// does the work calls it as often as it likes; it sends at most six times in an
// AckWait. [ErrStale] means that another worker holds the lease now.
func (t *Task) Heartbeat(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.beat) < t.bus.cfg.AckWait/6 {
		return nil
	}
	if err := t.lease.Renew(ctx); err != nil {
		return err
	}
	if err := t.d.msg.InProgress(); err != nil {
		return fmt.Errorf("heartbeat of job %s: %w", t.Work.GetJob(), err)
	}
	t.beat = time.Now()
	return nil
}

// Work hands the work of a stage to handle until ctx ends; running handlers go
// on under lifecycle.Working(ctx). A handler holds the lease of its job.
func (b *Bus) Work(ctx context.Context, stage string, opts Options, handle func(ctx context.Context, task *Task) error) error {
	if err := checkToken("stage", stage); err != nil {
		return err
	}
	from, err := b.durable(ctx, streamJobs, stage, workSubject(stage, ">"))
	if err != nil {
		return err
	}
	opts = opts.withDefaults(b)
	c := &consumer{bus: b, opts: opts, from: from, stage: stage}
	c.handle = func(ctx context.Context, d *delivery) error { return b.task(ctx, opts, d, handle) }
	return c.run(ctx)
}

func (b *Bus) task(take context.Context, opts Options, d *delivery, handle func(context.Context, *Task) error) error {
	work := new(pb.Work)
	if err := proto.Unmarshal(d.msg.Data(), work); err != nil {
		return Discard(fmt.Errorf("decode work: %w", err))
	}
	if err := checkToken("job id", work.GetJob()); err != nil {
		return Discard(err)
	}
	d.job = work.GetJob()
	// The lease would not stop this worker from taking its own job twice, when a
	// handler here was silent for so long that the message came again.
	if _, busy := b.running.LoadOrStore(d.job, true); busy {
		return Retry(fmt.Errorf("%w: by another handler of this worker", errHeld), b.held(d))
	}
	defer b.running.Delete(d.job)
	ctx := working(take)
	lease, err := b.Acquire(ctx, JobLease(work.GetJob()), opts.Worker)
	if err != nil {
		// Somebody works on this job, or died less than a lease ago.
		return Retry(fmt.Errorf("%w: %w", errHeld, err), b.held(d))
	}
	defer func() {
		if err := lease.Release(context.WithoutCancel(ctx)); err != nil {
			b.log.Warn("cannot release a lease; it will expire", "job", work.GetJob(), "error", err)
		}
	}()
	task := &Task{
		Work: work, Attempt: d.attempt, Delivered: d.delivered, Stopping: take.Done(),
		bus: b, d: d, lease: lease, beat: time.Now(),
	}
	err = handle(ctx, task)
	d.attempt = task.Attempt
	return err
}

// errHeld: the job is in other hands. It is no failure and is not told as one.
var errHeld = errors.New("the job is being worked on")

// held is how long work waits for a job that is in other hands. At first that is most likely the
// worker of the stage before, which has handed the job on and lets go in a moment.
func (b *Bus) held(d *delivery) time.Duration {
	return min(50*time.Millisecond<<min(d.delivered, 16), max(b.cfg.AckWait/4, time.Second))
}
