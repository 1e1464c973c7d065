package bus

import (
	"context"
	"fmt"

	"descant/pkg/pb"
)

// publishDead keeps a message that was given up.
func (b *Bus) publishDead(ctx context.Context, letter *pb.DeadLetter) error {
	job := letter.GetJob()
	if checkToken("job id", job) != nil {
		job = "unknown"
	}
	data, err := ToJSON(letter)
	if err != nil {
		return err
	}
	if _, err := b.js.PublishMsg(ctx, message(deadSubject(letter.GetStage(), job), data)); err != nil {
		return fmt.Errorf("keep dead letter of job %s: %w", job, err)
	}
	return nil
}

// DeadLetter returns the newest dead letter of a job in a stage, or
// [ErrNotFound].
func (b *Bus) DeadLetter(ctx context.Context, stage, job string) (*pb.DeadLetter, error) {
	stream, err := b.js.Stream(ctx, streamDead)
	if err != nil {
		return nil, fmt.Errorf("read stream %s: %w", streamDead, err)
	}
	msg, err := stream.GetLastMsgForSubject(ctx, deadSubject(stage, job))
	if err != nil {
		return nil, fmt.Errorf("dead letter of job %s: %w", job, notFound(err))
	}
	letter := new(pb.DeadLetter)
	return letter, FromJSON(msg.Data, letter)
}
