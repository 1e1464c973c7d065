package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
)

// Record is a job as it was read. Its revision is the condition of the next
// change.
type Record struct {
	Job *pb.Job
	// Revision is the sequence of the state message in the jobs stream.
	Revision uint64
}

// Change is what goes with a new state of a job, in the same atomic batch.
type Change struct {
	// Events to publish; job, type, time and epoch are filled in where they are
	// missing.
	Events []*pb.Event
	// Stage that shall work on the job next; empty for none.
	Stage string
}

// CreateJob stores a new job at epoch 1. If the id is taken it returns the
// record that is there and [ErrExists].
func (b *Bus) CreateJob(ctx context.Context, job *pb.Job, change Change) (Record, error) {
	rec, err := b.store(ctx, Record{Job: &pb.Job{Id: job.GetId()}}, job, change)
	if !errors.Is(err, ErrStale) {
		return rec, err
	}
	there, getErr := b.Job(ctx, job.GetId())
	if getErr != nil {
		return Record{}, getErr
	}
	return there, fmt.Errorf("create job %s: %w", job.GetId(), ErrExists)
}

// Advance stores job in place of rec, with its events and work, if nobody has
// changed the record since it was read; else [ErrStale]. The epoch grows by one.
// The job passed in is not modified.
func (b *Bus) Advance(ctx context.Context, rec Record, job *pb.Job, change Change) (Record, error) {
	if rec.Revision == 0 || rec.Job.GetId() != job.GetId() {
		return Record{}, fmt.Errorf("advance job %q from the record of %q at revision %d: not the same job", job.GetId(), rec.Job.GetId(), rec.Revision)
	}
	return b.store(ctx, rec, job, change)
}

// store writes the batch {state, events, work}. State goes first, so that no
// worker can see its work before the state that asks for it.
func (b *Bus) store(ctx context.Context, rec Record, job *pb.Job, change Change) (Record, error) {
	if err := checkToken("job id", job.GetId()); err != nil {
		return Record{}, err
	}
	now := time.Now()
	job = Clone(job)
	job.Epoch = rec.Job.GetEpoch() + 1
	job.UpdatedAt = Timestamp(now)
	if job.CreatedAt == nil {
		job.CreatedAt = job.UpdatedAt
	}
	msgs, err := batch(rec, job, change, now)
	if err != nil {
		return Record{}, err
	}
	first, err := b.publish(ctx, msgs)
	if err != nil {
		return Record{}, fmt.Errorf("store job %s as %s: %w", job.Id, job.State, stale(err))
	}
	return Record{Job: job, Revision: first}, nil
}

func batch(rec Record, job *pb.Job, change Change, now time.Time) ([]*nats.Msg, error) {
	data, err := proto.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("encode job %s: %w", job.Id, err)
	}
	state := message(stateSubject(job.Id), data)
	state.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rec.Revision, 10))
	msgs := []*nats.Msg{state}
	for _, event := range change.Events {
		event = Clone(event)
		if event.Type == "" {
			event.Type = EventState
		}
		if event.State == "" && event.Type == EventState {
			event.State = job.State
		}
		if event.Worker == "" {
			event.Worker = job.Worker
		}
		msg, err := eventMessage(job.Id, job.Epoch, event, now)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, msg)
	}
	if change.Stage != "" {
		msg, err := workMessage(change.Stage, job)
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, msg)
	}
	return msgs, nil
}

// publish stores messages all or none and returns the sequence of the first.
func (b *Bus) publish(ctx context.Context, msgs []*nats.Msg) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Timeout)
	defer cancel()
	if len(msgs) == 1 {
		ack, err := b.js.PublishMsg(ctx, msgs[0])
		if err != nil {
			return 0, err
		}
		return ack.Sequence, nil
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, b.js, msgs)
	if err != nil {
		return 0, err
	}
	// A batch is stored without gaps; the acknowledgement names its last message.
	return ack.Sequence - uint64(len(msgs)-1), nil
}

// Job reads a job's record, or [ErrNotFound].
func (b *Bus) Job(ctx context.Context, id string) (Record, error) {
	if err := checkToken("job id", id); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	msg, err := b.jobs.GetLastMsgForSubject(ctx, stateSubject(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Record{}, fmt.Errorf("job %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return Record{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return record(msg.Data, msg.Sequence)
}

// Jobs reads the records of all jobs, in the order of their last change.
func (b *Bus) Jobs(ctx context.Context) ([]Record, error) {
	var all []Record
	places := map[string]int{}
	for rec, err := range b.records(ctx, true) {
		if err != nil {
			return nil, fmt.Errorf("list jobs: %w", err)
		}
		// A job that changes while the list is read comes once more.
		if i, there := places[rec.Job.GetId()]; there {
			all[i] = rec
			continue
		}
		places[rec.Job.GetId()] = len(all)
		all = append(all, rec)
	}
	return all, nil
}

// WatchJobs yields the record of every job, then every change as it happens,
// until ctx ends.
func (b *Bus) WatchJobs(ctx context.Context) iter.Seq2[Record, error] {
	return b.records(ctx, false)
}

func (b *Bus) records(ctx context.Context, finite bool) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		from := jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{stateSubject(">")},
			DeliverPolicy:  jetstream.DeliverLastPerSubjectPolicy,
		}
		for msg, err := range b.replay(ctx, from, finite) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			rec, err := record(msg.data, msg.seq)
			if !yield(rec, err) {
				return
			}
		}
	}
}

func record(data []byte, seq uint64) (Record, error) {
	job := new(pb.Job)
	if err := proto.Unmarshal(data, job); err != nil {
		return Record{}, fmt.Errorf("decode job record at sequence %d: %w", seq, err)
	}
	return Record{Job: job, Revision: seq}, nil
}

// Enqueue publishes the work of a stage for a record again, for a job that no
// message would wake; [ErrStale] if the record has changed.
func (b *Bus) Enqueue(ctx context.Context, rec Record, stage string) error {
	msg, err := workMessage(stage, rec.Job)
	if err != nil {
		return err
	}
	fence(msg, rec)
	if _, err := b.publish(ctx, []*nats.Msg{msg}); err != nil {
		return fmt.Errorf("enqueue job %s for %s: %w", rec.Job.GetId(), stage, stale(err))
	}
	return nil
}

func workMessage(stage string, job *pb.Job) (*nats.Msg, error) {
	if err := checkToken("stage", stage); err != nil {
		return nil, err
	}
	data, err := proto.Marshal(&pb.Work{Stage: stage, Job: job.Id, Epoch: job.Epoch})
	if err != nil {
		return nil, fmt.Errorf("encode work: %w", err)
	}
	return message(workSubject(stage, job.Id), data), nil
}

// fence makes the stream refuse msg if the job's record is no longer rec.
func fence(msg *nats.Msg, rec Record) {
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(rec.Revision, 10))
	msg.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, stateSubject(rec.Job.GetId()))
}

func message(subject string, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
}
