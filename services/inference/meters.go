package inference

import (
	"time"

	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// meters measure requests under the names that vLLM has for the same numbers, so that its dashboards, and gateways that
// choose between model servers, read them as they are. The label model_name is the base, engine is always 0.
type meters struct {
	firstToken, nextToken, whole, queue lifecycle.Histogram
	success                             lifecycle.Counter
}

var (
	firstTokenSeconds = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	nextTokenSeconds  = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestSeconds    = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

const engineLabel = "0"

func newMeters(m *lifecycle.Metrics) meters {
	labels := []string{"model_name", "engine"}
	return meters{
		firstToken: m.Histogram("vllm:time_to_first_token_seconds", "Seconds from a request to its first text, the waiting included.", firstTokenSeconds, labels...),
		nextToken:  m.Histogram("vllm:inter_token_latency_seconds", "Seconds between two pieces of text of an answer.", nextTokenSeconds, labels...),
		whole:      m.Histogram("vllm:e2e_request_latency_seconds", "Seconds from a request to the end of its answer.", requestSeconds, labels...),
		queue:      m.Histogram("vllm:request_queue_time_seconds", "Seconds that a request waited for a row and a slot.", requestSeconds, labels...),
		success:    m.Counter("vllm:request_success_total", "Answers that came to their end.", append(labels, "finished_reason")...),
	}
}

// answer measures an answer that began with its request.
func (m *meters) answer(base string, began time.Time, send func(*pb.ChatChunk) error) func(*pb.ChatChunk) error {
	last := map[uint32]time.Time{} // of each choice
	return func(chunk *pb.ChatChunk) error {
		now := time.Now()
		if chunk.GetDelta() != "" {
			if before, there := last[chunk.GetIndex()]; there {
				m.nextToken.Observe(now.Sub(before).Seconds(), base, engineLabel)
			} else if len(last) == 0 {
				m.firstToken.Observe(now.Sub(began).Seconds(), base, engineLabel)
			}
			last[chunk.GetIndex()] = now
		}
		if reason := chunk.GetFinishReason(); reason != "" {
			m.success.Add(1, base, engineLabel, reason)
		}
		if chunk.GetUsage() != nil {
			m.whole.Observe(now.Sub(began).Seconds(), base, engineLabel)
		}
		return send(chunk)
	}
}

// queued measures how long a request has waited.
func (m *meters) queued(base string, since time.Time) {
	m.queue.Observe(time.Since(since).Seconds(), base, engineLabel)
}
