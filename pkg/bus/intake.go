package bus

import (
	"context"
	"fmt"

	"descant/pkg/lifecycle"
)

// Request is a message of finetune.request.
type Request struct {
	// Data is what the person sent.
	Data []byte
	// Seq is the sequence in the intake stream.
	Seq uint64
	// Delivered counts the deliveries, this one included.
	Delivered uint64
}

// working is lifecycle.Working; a handler that outlives ctx keeps its values.
func working(ctx context.Context) context.Context { return lifecycle.Working(ctx) }

// Intake hands the fine-tuning requests to handle, each to one gateway, until
// ctx ends. The outcomes are those of [Bus.Work].
func (b *Bus) Intake(ctx context.Context, opts Options, handle func(ctx context.Context, req Request) error) error {
	from, err := b.durable(ctx, streamIntake, StageIntake, SubjectRequest)
	if err != nil {
		return err
	}
	c := &consumer{bus: b, opts: opts.withDefaults(b), from: from, stage: StageIntake}
	c.handle = func(ctx context.Context, d *delivery) error {
		meta, err := d.msg.Metadata()
		if err != nil {
			return Discard(err)
		}
		return handle(working(ctx), Request{Data: d.msg.Data(), Seq: meta.Sequence.Stream, Delivered: d.delivered})
	}
	return c.run(ctx)
}

// Submit stores a fine-tuning request and returns its sequence in the intake
// stream.
func (b *Bus) Submit(ctx context.Context, request []byte) (uint64, error) {
	ack, err := b.js.PublishMsg(ctx, message(SubjectRequest, request))
	if err != nil {
		return 0, fmt.Errorf("submit request: %w", err)
	}
	return ack.Sequence, nil
}
