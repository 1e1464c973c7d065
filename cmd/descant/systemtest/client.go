package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// Late is how long a job may be silent before a test gives it up, on a busy machine. A job that goes on tells of every step.
const Late = 120 * time.Second

// Raw is a plain NATS connection, as any program has it.
func (s *System) Raw(t testing.TB) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(s.NATSURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// Events collects the events of a job (or of all, "*") until enough returns true, and returns them.
func (s *System) Events(t testing.TB, job string, from uint64, enough func(*pb.Event) bool) []*pb.Event {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	silence := time.AfterFunc(Late, func() { cancel(fmt.Errorf("no event for %s", Late)) })
	defer silence.Stop()
	var all []*pb.Event
	for event, err := range s.Bus.Follow(ctx, job, bus.FollowOptions{From: from}) {
		if err != nil {
			break
		}
		silence.Reset(Late)
		all = append(all, event)
		if enough(event) {
			return all
		}
		if event.GetState() == "failed" {
			break
		}
	}
	for _, event := range all {
		t.Logf("event %d %s %s: %s %v", event.GetSeq(), event.GetType(), event.GetState(), event.GetMessage(), event.GetError())
	}
	t.Fatalf("job %s did not get there (error of the wait: %v)", job, context.Cause(ctx))
	return nil
}

// Until waits for a state of a job.
func (s *System) Until(t testing.TB, job, state string) []*pb.Event {
	t.Helper()
	return s.Events(t, job, 0, func(e *pb.Event) bool { return e.GetState() == state })
}

// Publish sends a request as the nats CLI does and returns the id of its job or rejection, by the
// first event that it causes.
func (s *System) Publish(t testing.TB, conn *nats.Conn, request any) *pb.Event {
	t.Helper()
	data, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return s.First(t, conn, func() {
		if err := conn.Publish(bus.SubjectRequest, data); err != nil {
			t.Fatal(err)
		}
	})
}

// First returns the first event that send causes.
func (s *System) First(t testing.TB, conn *nats.Conn, send func()) *pb.Event {
	t.Helper()
	sub, err := conn.SubscribeSync("finetune.events.*.*")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed with the test
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	send()
	msg, err := sub.NextMsg(Patience)
	if err != nil {
		t.Fatalf("no event follows the request: %v", err)
	}
	event := new(pb.Event)
	if err := bus.FromJSON(msg.Data, event); err != nil {
		t.Fatal(err)
	}
	return event
}

// Answer is a streamed chat answer.
type Answer struct {
	Text   string
	Chunks []*pb.ChatChunk
}

// Last is the chunk with finish_reason, usage or error.
func (a Answer) Last() *pb.ChatChunk { return a.Chunks[len(a.Chunks)-1] }

// Ask sends a chat request as JSON on a subject and reads the stream to its end.
func (s *System) Ask(t testing.TB, conn *nats.Conn, subject, request string) Answer {
	t.Helper()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection is closed with the test
	if err := conn.PublishRequest(subject, inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	var answer Answer
	for {
		msg, err := sub.NextMsg(Patience)
		if err != nil {
			t.Fatalf("ask %s: %v after %d chunks", subject, err, len(answer.Chunks))
		}
		if len(msg.Data) == 0 {
			break
		}
		chunk := new(pb.ChatChunk)
		if err := bus.FromJSON(msg.Data, chunk); err != nil {
			t.Fatalf("chunk %s: %v", msg.Data, err)
		}
		answer.Text += chunk.GetDelta()
		answer.Chunks = append(answer.Chunks, chunk)
	}
	if len(answer.Chunks) == 0 {
		t.Fatalf("ask %s: the stream is empty", subject)
	}
	return answer
}

// WaitWorker waits until a worker (any, for "") holds an adapter and returns its id.
func (s *System) WaitWorker(t testing.TB, wanted func(*pb.WorkerInfo) bool) *pb.WorkerInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for {
		workers, err := s.Bus.Workers(ctx, "inference")
		if err != nil {
			t.Fatalf("list workers: %v", err)
		}
		if i := slices.IndexFunc(workers, wanted); i >= 0 {
			return workers[i]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no such worker among %v", workers)
		case <-time.After(20 * time.Millisecond): // the bucket is polled, as a person does
		}
	}
}

// WaitAdvert waits until an inference worker tells what is wanted, and returns its advert.
func (s *System) WaitAdvert(t testing.TB, wanted func(*pb.WorkerAdvert) bool) *pb.WorkerAdvert {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var last []string
	for one, err := range s.Bus.WatchAdverts(ctx) {
		if err != nil {
			t.Fatalf("watch the adverts: %v", err)
		}
		if one.Info == nil {
			continue
		}
		if wanted(one.Info) {
			return one.Info
		}
		last = append(last, one.Info.String())
	}
	t.Fatalf("no such advert among\n%s", strings.Join(last, "\n"))
	return nil
}

// States returns the states that events tell of, in order.
func States(events []*pb.Event) []string {
	var states []string
	for _, event := range events {
		if event.GetType() == bus.EventState {
			states = append(states, event.GetState())
		}
	}
	return states
}
