package systemtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"descant/cmd/descant/systemtest"
	"descant/pkg/bus"
	"descant/pkg/pb"
)

// ending is how a request ended for its client.
type ending struct {
	tokens  uint32 // of an answer that came to its end
	started bool   // a text had come
	err     error
}

// killUnderTraffic kills one worker after the other while clients ask: a request that had no text yet is answered
// elsewhere, without its client noticing; one that had ends with an error that says what happened.
func (r *fleet) killUnderTraffic(t *testing.T) {
	t.Helper()
	const kills, between, length = 4, 12, 100
	r.start(t, "k0")
	r.start(t, "k1")
	traffic, stop := context.WithCancel(t.Context())
	endings := make(chan ending, 1<<10) // clients go on while a worker starts
	var clients sync.WaitGroup
	for range 6 {
		clients.Go(func() {
			for traffic.Err() == nil {
				select {
				case endings <- r.answer(traffic, length):
				case <-traffic.Done():
				}
			}
		})
	}
	defer clients.Wait()
	defer stop()
	whole, cut := 0, 0
	for kill := range kills {
		for n := 0; n < between; n++ {
			one := <-endings
			var failed *bus.Failure
			switch {
			case one.err == nil && one.tokens == length:
				whole++
			case one.started && errors.As(one.err, &failed) && failed.Detail.GetCode() == "worker_lost" && failed.Detail.GetNextStep() != "":
				cut++
			default:
				t.Errorf("after %d kills a request ends with %d tokens (a text had come: %v), %v", kill, one.tokens, one.started, one.err)
			}
		}
		if t.Failed() {
			return
		}
		// Its worker dies in the middle of this answer, however quick workers are.
		long := r.ask(t, endless)
		worker := long.worker(t)
		for long.seen.GetDelta() == "" {
			long.seen = long.next(t)
		}
		r.workers[worker].Kill()
		if last := long.end(t); last.GetError().GetCode() != "worker_lost" || last.GetError().GetNextStep() == "" {
			t.Errorf("an answer that has begun when its worker is killed ends with %v", last)
		}
		r.start(t, fmt.Sprintf("k%d", kill+2))
	}
	t.Logf("%d workers killed, each in the middle of an answer; of the others %d whole, %d cut off", kills, whole, cut)
}

// answer asks for so many tokens and reads to the end.
func (r *fleet) answer(ctx context.Context, tokens uint32) (e ending) {
	zero := 0.0
	req := &pb.ChatRequest{Model: r.Base, Prompt: "hello", MaxTokens: tokens, Temperature: &zero}
	for chunk, err := range r.Bus.Chat(ctx, bus.SubjectChat, req, systemtest.Patience) {
		if err != nil {
			e.err = err
			return e
		}
		e.started = e.started || chunk.GetDelta() != ""
		if chunk.GetUsage() != nil {
			e.tokens = chunk.GetUsage().GetCompletionTokens()
		}
	}
	return e
}
