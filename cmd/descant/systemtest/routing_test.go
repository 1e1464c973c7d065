package systemtest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"descant/cmd/descant/systemtest"
	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/pb"
)

// TestRouting: what happens to chat requests when workers are busy, killed or stopped. Every worker answers one request at
// a time, so that a second one waits.
func TestRouting(t *testing.T) {
	s := systemtest.Distributed(t)
	s.Services["inference"].Stop(t)
	longContext(t, s.Base)
	r := &fleet{System: s, workers: map[string]*systemtest.Process{}, apis: map[string]string{}}
	a, b := r.start(t, "a"), r.start(t, "b")

	first, second := r.ask(t, endless), r.ask(t, endless)
	busy := map[string]*asked{first.worker(t): first, second.worker(t): second}
	if busy[a] == nil || busy[b] == nil {
		t.Fatalf("both requests went to %s, while the other worker was free", first.worker(t))
	}
	third := r.ask(t, 4)
	waits := r.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return waiting(w) == 1 }).GetId()
	other := a
	if waits == a {
		other = b
	}

	r.workers[waits].Kill()
	if last := busy[waits].end(t); last.GetError().GetCode() != "worker_lost" || last.GetError().GetNextStep() == "" {
		t.Errorf("an answer that its worker's death cut off ends with %v", last)
	}
	// The one that waited there goes on waiting at the other worker, until the requester of the answer there hangs up.
	r.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return w.GetId() == other && waiting(w) == 1 })
	busy[other].conn.Close()
	if last := third.end(t); last.GetError() != nil || last.GetWorker() != other || last.GetUsage().GetCompletionTokens() != 4 {
		t.Errorf("the request that waited at a killed worker ends with %v, want an answer of %s", last, other)
	}

	c := r.start(t, "c")
	fourth := r.ask(t, 200)
	stopped, left := fourth.worker(t), c
	if stopped == c {
		left = other
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.workers[stopped].Stop(t)
	}()
	r.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return w.GetId() == stopped && w.GetDraining() })
	if last := r.ask(t, 4).end(t); last.GetError() != nil || last.GetWorker() != left {
		t.Errorf("a request beside a worker that ends gets %v, want an answer of %s", last, left)
	}
	if last := fourth.end(t); last.GetError() != nil || last.GetUsage().GetCompletionTokens() != 200 {
		t.Errorf("the answer of a worker that was told to stop ends with %v, want all of its 200 tokens", last)
	}
	<-ended
	r.stopWhileStreaming(t, left)
	if last := r.ask(t, 4).end(t); last.GetError().GetCode() != "no_worker" || last.GetError().GetRetryAfter() == 0 {
		t.Errorf("without any worker a request gets %v", last)
	}
	r.killUnderTraffic(t)
}

// stopWhileStreaming tells a worker to stop while it streams an answer over its own HTTP API, and reads that to its end.
func (r *fleet) stopWhileStreaming(t *testing.T, worker string) {
	t.Helper()
	stream := r.http(t, http.MethodPost, worker, "/v1/completions", fmt.Sprintf(`{"model":%q,"prompt":"hello","max_tokens":300,"temperature":0,"stream":true}`, r.Base))
	events := bufio.NewReader(stream)
	if line, err := events.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: {") {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	metrics, err := io.ReadAll(r.http(t, http.MethodGet, worker, "/metrics", ""))
	if running := fmt.Sprintf("vllm:num_requests_running{engine=\"0\",model_name=%q} 1\n", r.Base); err != nil || !strings.Contains(string(metrics), running) {
		t.Errorf("%s is not among the metrics, %v", running, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.workers[worker].Stop(t)
	}()
	r.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return w.GetId() == worker && w.GetDraining() })
	rest, err := io.ReadAll(events)
	if err != nil || !strings.Contains(string(rest), `"finish_reason":"length"`) || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the stream of a worker that stops ends with %v and %q", err, rest[max(len(rest)-300, 0):])
	}
	<-ended
}

// http sends a request to a worker's own API and returns the body of the answer.
func (r *fleet) http(t *testing.T, method, worker, path, body string) io.Reader {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.apis[worker]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	if answer.StatusCode != http.StatusOK {
		data, err := io.ReadAll(answer.Body)
		t.Fatalf("%s answers %s: %s, %v", path, answer.Status, data, err)
	}
	return answer.Body
}

// longContext lets a base answer at length.
func longContext(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	config["max_position_embeddings"] = 32768
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// endless is more tokens than a test waits for.
const endless = 30_000

// fleet is a system with workers of the test.
type fleet struct {
	*systemtest.System
	workers map[string]*systemtest.Process // by id
	apis    map[string]string              // addresses, by id
}

// start starts a worker with the base in memory.
func (r *fleet) start(t *testing.T, name string) (id string) {
	t.Helper()
	id = "inference-" + name
	r.apis[id] = servertest.FreeAddress(t)
	r.workers[id] = r.StartExtra(t, "inference", "DESCANT_WORKER="+name, "DESCANT_INFERENCE_MODEL="+r.Base, "DESCANT_INFERENCE_API_ADDR="+r.apis[id],
		"DESCANT_INFERENCE_MAX_ROWS=1", "DESCANT_INFERENCE_MAX_CONTEXT=32768")
	r.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return w.GetId() == id && w.GetReady() && len(w.GetBases()) == 1 })
	return id
}

// asked is a chat request under way, with a connection of its own.
type asked struct {
	conn *nats.Conn
	sub  *nats.Subscription
	seen *pb.ChatChunk // the first chunk
}

// ask sends a request for n tokens as a person does.
func (r *fleet) ask(t *testing.T, n int) *asked {
	t.Helper()
	conn := r.Raw(t)
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	request := fmt.Sprintf(`{"model":%q,"prompt":"hello","max_tokens":%d,"temperature":0}`, r.Base, n)
	if err := conn.PublishRequest(bus.SubjectChat, inbox, []byte(request)); err != nil {
		t.Fatal(err)
	}
	return &asked{conn: conn, sub: sub}
}

func (a *asked) next(t *testing.T) *pb.ChatChunk {
	t.Helper()
	msg, err := a.sub.NextMsg(systemtest.Patience)
	if err != nil {
		t.Fatalf("no more chunks after %v: %v", a.seen, err)
	}
	if len(msg.Data) == 0 {
		t.Fatalf("the answer ended without its last chunk, headers %v", msg.Header)
	}
	chunk := new(pb.ChatChunk)
	if err := bus.FromJSON(msg.Data, chunk); err != nil {
		t.Fatal(err)
	}
	if a.seen == nil {
		a.seen = chunk
	}
	return chunk
}

// worker waits for the first chunk and returns whose it is.
func (a *asked) worker(t *testing.T) string {
	t.Helper()
	if a.seen == nil {
		a.next(t)
	}
	if a.seen.GetError() != nil {
		t.Fatalf("the answer begins with %v", a.seen)
	}
	return a.seen.GetWorker()
}

// end reads to the last chunk.
func (a *asked) end(t *testing.T) *pb.ChatChunk {
	t.Helper()
	for {
		if chunk := a.next(t); chunk.GetFinishReason() != "" {
			return chunk
		}
	}
}

// waiting is how many requests wait at a worker.
func waiting(w *pb.WorkerAdvert) (n uint32) {
	for _, b := range w.GetBases() {
		n += b.GetWaiting()
	}
	return n
}
