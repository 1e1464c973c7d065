package systemtest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"descant/cmd/descant/systemtest"
	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/embedded/servertest"
	"descant/pkg/pb"
)

func TestMain(m *testing.M) {
	code := m.Run()
	systemtest.Remove()
	os.Exit(code)
}

func TestScenarioOneProcess(t *testing.T) {
	scenario(t, systemtest.OneProcess(t))
}

func TestScenarioDistributed(t *testing.T) {
	scenario(t, systemtest.Distributed(t))
}

// run is the state of a scenario.
type run struct {
	*systemtest.System
	conn    *nats.Conn
	adapter string // digest of the first adapter
}

// scenario is what a person does with a system, in order; each part builds on the ones before.
func scenario(t *testing.T, system *systemtest.System) {
	s := &run{System: system, conn: system.Raw(t)}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *run)
	}{
		{"a request becomes an adapter that answers", requestToAnswer},
		{"the same request is the same job", sameRequest},
		{"bad requests say what is wrong", badRequests},
		{"a training goes on from a published adapter", goOnFromAdapter},
		{"a worker that starts later knows everything", laterWorker},
		{"the nats CLI is enough", natsCLI},
		{"cancel, and send again", cancelAndAgain},
		{"pause and resume", pauseAndResume},
		{"a killed worker's job is completed", killedWorker},
		{"a restart goes on where it was", restart},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.run(t, s) }) {
			return // what follows would only fail in its wake
		}
	}
}

// request returns a small job with the given name and changes.
func (s *run) request(name string, changes map[string]any) map[string]any {
	request := map[string]any{
		"model": s.Base, "dataset": "my-rows", "name": name, "max_steps": 3, "max_length": 32,
		"gradient_accumulation_steps": 1, "learning_rate": 0.02, "save_steps": 0, "r": 4,
	}
	for key, value := range changes {
		request[key] = value
	}
	return request
}

func requestToAnswer(t *testing.T, s *run) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, dataset.SampleBytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Registry.PushDataset(t.Context(), "my-rows", path, "rows.jsonl", len(dataset.Sample()), time.Now()); err != nil {
		t.Fatal(err)
	}
	raw, err := s.conn.SubscribeSync("finetune.events.*.step")
	if err != nil {
		t.Fatal(err)
	}
	first := s.Publish(t, s.conn, s.request("my-adapter", nil))
	events := s.Until(t, first.GetJob(), "succeeded")
	published := time.Now()
	want := []string{"received", "validating", "tokenizing", "queued", "training", "publishing", "succeeded"}
	if got := systemtest.States(events); !slices.Equal(got, want) {
		t.Errorf("states are %v, want %v", got, want)
	}
	checkSteps(t, events, 3)
	checkStepJSON(t, raw)

	found, err := s.Registry.Resolve(t.Context(), "my-adapter")
	if err != nil || found.Pinned() != "my-adapter@1" || found.Version.GetJob() != first.GetJob() {
		t.Fatalf("my-adapter is %v, %v", found, err)
	}
	s.adapter = found.Version.GetDigest()
	s.WaitWorker(t, func(w *pb.WorkerInfo) bool { return slices.Contains(w.GetAdapters(), s.adapter) })
	if took := time.Since(published); took > 2*time.Second {
		t.Errorf("the adapter was loaded %s after its publication, want at most 2s", took)
	}
	answer := s.Ask(t, s.conn, bus.SubjectChat, `{"model":"my-adapter","prompt":"你是谁？","max_tokens":8,"temperature":0}`)
	checkAnswer(t, answer, "my-adapter@1")
	base := s.Ask(t, s.conn, bus.SubjectChat, fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"你是谁？"}],"max_tokens":8,"temperature":0}`, s.Base))
	checkAnswer(t, base, "")
	one := s.Ask(t, s.conn, bus.SubjectChat, `{"model":"my-adapter","prompt":"你是谁？","max_tokens":8,"temperature":0,"stream":false}`)
	if len(one.Chunks) != 1 || one.Text != answer.Text {
		t.Errorf("without streaming the answer is %q in %d chunks, with it %q", one.Text, len(one.Chunks), answer.Text)
	}
	if answer.Text == base.Text {
		t.Errorf("adapter and base both answer %q", base.Text)
	}
	askForForms(t, s)
}

// askForForms asks for two choices by a schema with log-probabilities, and for what is refused.
func askForForms(t *testing.T, s *run) {
	t.Helper()
	answer := s.Ask(t, s.conn, bus.SubjectChat, `{"model":"my-adapter","prompt":"hi","max_tokens":60,"n":2,"temperature":1,"seed":5,"stream":false,"logprobs":true,"top_logprobs":1,
		"logit_bias":{"0":-1},"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"z":{"enum":["好","no"]},"a":{"type":"boolean"}},"required":["z","a"]}}}}`)
	for _, chunk := range answer.Chunks {
		var said struct {
			Z string
			A bool
		}
		err := json.Unmarshal([]byte(chunk.GetDelta()), &said)
		if err != nil || said.Z != "好" && said.Z != "no" || !strings.HasPrefix(strings.TrimLeft(chunk.GetDelta(), "{ \n\t"), `"z"`) || chunk.GetFinishReason() != "stop" {
			t.Errorf("choice %d is %s by %s: %v", chunk.GetIndex(), chunk.GetDelta(), chunk.GetFinishReason(), err)
		}
		var text []byte
		for _, token := range chunk.GetLogprobs() {
			for _, b := range token.GetBytes() {
				text = append(text, byte(b))
			}
			if token.GetLogprob() > 0 || len(token.GetTopLogprobs()) != 1 || token.GetTopLogprobs()[0].GetLogprob() < token.GetLogprob() {
				t.Errorf("token %v", token)
			}
		}
		if string(text) != chunk.GetDelta() {
			t.Errorf("the tokens are %q, the text %q", text, chunk.GetDelta())
		}
	}
	if len(answer.Chunks) != 2 || answer.Chunks[0].GetUsage() != nil || answer.Chunks[1].GetUsage().GetTotalTokens() == 0 {
		t.Errorf("chunks %v", answer.Chunks)
	}
	wrong := s.Ask(t, s.conn, bus.SubjectChat, `{"model":"my-adapter","prompt":"hi","top_p":2,"response_format":{"type":"json_schema","json_schema":{"schema":{"oneOf":[]}}}}`).Last().GetError()
	if wrong.GetClass() != "user" || len(wrong.GetProblems()) != 2 || !strings.Contains(wrong.String(), "oneOf") || !strings.Contains(wrong.String(), "top_p") {
		t.Errorf("error %v", wrong)
	}
}

func checkSteps(t *testing.T, events []*pb.Event, total int) {
	t.Helper()
	next := uint32(1)
	for _, event := range events {
		if event.GetType() != bus.EventStep {
			continue
		}
		s := event.GetStep()
		if s.GetStep() != next || s.GetTotal() != uint32(total) || s.GetLoss() <= 0 || s.GetLr() < 0 || s.GetGradNorm() <= 0 ||
			s.GetTokens() <= 0 || s.GetTrainedTokens() <= 0 || s.GetTokensPerSecond() <= 0 || s.GetEta() < 0 || s.GetEpoch() <= 0 {
			t.Errorf("step %d is %v", next, s)
		}
		next++
	}
	if next != uint32(total)+1 {
		t.Errorf("%d step events, want %d", next-1, total)
	}
}

// checkStepJSON looks at a step event as somebody sees it who follows by `nats sub`.
func checkStepJSON(t *testing.T, sub *nats.Subscription) {
	t.Helper()
	msg, err := sub.NextMsg(systemtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	var event struct {
		Type string             `json:"type"`
		Step map[string]float64 `json:"step"`
	}
	if err := json.Unmarshal(msg.Data, &event); err != nil {
		t.Fatalf("%s: %v", msg.Data, err)
	}
	for _, name := range []string{"step", "total", "loss", "lr", "grad_norm", "tokens", "trained_tokens", "tokens_per_second", "eta"} {
		if _, ok := event.Step[name]; !ok {
			t.Errorf("the step event has no %s: %s", name, msg.Data)
		}
	}
}

func checkAnswer(t *testing.T, answer systemtest.Answer, model string) {
	t.Helper()
	last := answer.Last()
	if last.GetError() != nil {
		t.Fatalf("the answer is an error: %v", last.GetError())
	}
	usage := last.GetUsage()
	if last.GetFinishReason() == "" || usage.GetPromptTokens() == 0 || usage.GetCompletionTokens() == 0 ||
		usage.GetTotalTokens() != usage.GetPromptTokens()+usage.GetCompletionTokens() {
		t.Errorf("the last chunk is %v", last)
	}
	if last.GetModel() != model || !utf8.ValidString(answer.Text) {
		t.Errorf("model %q answers %q", last.GetModel(), answer.Text)
	}
}

func sameRequest(t *testing.T, s *run) {
	again := s.Publish(t, s.conn, s.request("my-adapter", nil))
	if again.GetType() != bus.EventLog || !strings.Contains(again.GetMessage(), "the same request came again") {
		t.Errorf("event = %v", again)
	}
	data, err := json.Marshal(s.request("my-adapter", nil))
	if err != nil {
		t.Fatal(err)
	}
	view := new(pb.JobView)
	if err := s.Bus.CallRaw(t.Context(), "finetune.jobs.create", data, view); err != nil {
		t.Fatal(err)
	}
	if view.GetId() != again.GetJob() || view.GetState() != "succeeded" || view.GetArtifacts().GetAdapterRef() != "my-adapter@1" {
		t.Errorf("view = %v", view)
	}
	entry, err := s.Registry.Entry(t.Context(), "my-adapter")
	if err != nil || len(entry.GetVersions()) != 1 {
		t.Errorf("entry = %v, %v", entry, err)
	}
}

func badRequests(t *testing.T, s *run) {
	rejected := func(name string, request string, want ...string) {
		t.Run(name, func(t *testing.T) {
			event := s.First(t, s.conn, func() {
				if err := s.conn.Publish(bus.SubjectRequest, []byte(request)); err != nil {
					t.Fatal(err)
				}
			})
			checkError(t, event.GetError(), want...)
			if event.GetType() != bus.EventRejected {
				t.Errorf("event = %v", event)
			}
		})
	}
	rejected("not JSON", `{"model":`, "bad_request", "ends in the middle")
	rejected("unknown field", `{"model":"m","dataset":"d","max_step":3}`, "bad_request", "max_step", `did you mean "max_steps"?`)
	rejected("every problem at once", `{"dataset":"d","r":0,"learning_rate":-1}`, "bad_request", "model", "r", "learning_rate")
	rejected("unknown dataset", `{"model":"m","dataset":"my-row"}`, "dataset_not_found", `did you mean "my-rows"?`)

	failed := func(name string, changes map[string]any, want ...string) {
		t.Run(name, func(t *testing.T) {
			first := s.Publish(t, s.conn, s.request("bad", changes))
			events := s.Events(t, first.GetJob(), 0, func(e *pb.Event) bool { return e.GetState() == "failed" })
			checkError(t, events[len(events)-1].GetError(), want...)
		})
	}
	failed("a folder that is not allowed", map[string]any{"model": "/etc"}, "bad_model", "local_dirs")
	failed("a folder that is not there", map[string]any{"model": s.Base + "/nothing"}, "model_not_found", "no such folder")
	failed("a bad row", map[string]any{"dataset": "", "rows": []any{
		map[string]string{"instruction": "a", "output": "b"}, map[string]string{"instruction": "a"},
	}}, "bad_dataset", "output", "2")
	failed("too long for the model", map[string]any{"max_length": 100000}, "bad_request", "max_length")
}

func checkError(t *testing.T, e *pb.Error, want ...string) {
	t.Helper()
	text := e.GetCode() + " " + e.GetMessage() + " " + e.GetNextStep()
	for _, p := range e.GetProblems() {
		text += fmt.Sprintf(" %s %d %s %s", p.GetField(), p.GetLine(), p.GetMessage(), p.GetNextStep())
	}
	if e.GetClass() != "user" {
		t.Errorf("class is %q: %s", e.GetClass(), text)
	}
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("the error lacks %q: %s", part, text)
		}
	}
}

// goOnFromAdapter trains on from my-adapter@1: the new adapter says so, and begins where the other ended.
func goOnFromAdapter(t *testing.T, s *run) {
	losses := func(id string) (list []float64) {
		for _, event := range s.Events(t, id, 0, func(e *pb.Event) bool { return e.GetState() == "succeeded" }) {
			if event.GetType() == bus.EventStep {
				list = append(list, event.GetStep().GetLoss())
			}
		}
		return list
	}
	found, err := s.Registry.Resolve(t.Context(), "my-adapter@1")
	if err != nil {
		t.Fatal(err)
	}
	before := losses(found.Version.GetJob())
	next := s.Publish(t, s.conn, s.request("my-next", map[string]any{"init_from": "my-adapter"}))
	after := losses(next.GetJob())
	// The same rows come in the same order, and the first learning rate is 0.
	if after[0] >= before[0] {
		t.Errorf("the first loss is %g, without the adapter it was %g", after[0], before[0])
	}
	entry, err := s.Registry.Resolve(t.Context(), "my-next")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := s.Registry.Manifest(t.Context(), entry.Version)
	if err != nil {
		t.Fatal(err)
	}
	parent := "my-adapter@" + s.adapter
	spec := manifest.GetSpec().GetFields()["training"].GetStructValue().GetFields()["init_from"].GetStringValue()
	if manifest.GetParent() != parent || spec != parent {
		t.Errorf("the manifest names parent %q and init_from %q, want %q", manifest.GetParent(), spec, parent)
	}

	unknown := s.Publish(t, s.conn, s.request("bad-parent", map[string]any{"init_from": "my-adaptor@1"}))
	checkError(t, unknown.GetError(), "not_found", `did you mean "my-adapter"?`)
	other := s.Publish(t, s.conn, s.request("bad-shape", map[string]any{"init_from": "my-adapter@1", "r": 8}))
	events := s.Events(t, other.GetJob(), 0, func(e *pb.Event) bool { return e.GetState() == "failed" })
	checkError(t, events[len(events)-1].GetError(), "bad_request", "the adapter of init_from has 4")
}

func laterWorker(t *testing.T, s *run) {
	before, err := s.Bus.Workers(t.Context(), "inference")
	if err != nil {
		t.Fatal(err)
	}
	// It serves on another backend what was trained on the first.
	p := s.StartExtra(t, "inference", "DESCANT_DEVICE=xla")
	later := s.WaitWorker(t, func(w *pb.WorkerInfo) bool {
		return w.GetReady() && !slices.ContainsFunc(before, func(b *pb.WorkerInfo) bool { return b.GetId() == w.GetId() })
	})
	answer := s.Ask(t, s.conn, bus.WorkerSubject(later.GetId()), `{"model":"my-adapter@1","prompt":"hello","max_tokens":4}`)
	checkAnswer(t, answer, "my-adapter@1")
	if answer.Last().GetWorker() != later.GetId() {
		t.Errorf("worker %s answered for %s", answer.Last().GetWorker(), later.GetId())
	}
	wrong := s.Ask(t, s.conn, bus.WorkerSubject(later.GetId()), `{"model":"my-adaptr","prompt":"hello"}`)
	checkError(t, wrong.Last().GetError(), "not_found", `did you mean "my-adapter"?`)
	p.Stop(t)
}

func natsCLI(t *testing.T, s *run) {
	cli := servertest.Binary(t, "nats")
	request, err := json.Marshal(s.request("from-cli", map[string]any{"dataset": "builtin:sample"}))
	if err != nil {
		t.Fatal(err)
	}
	do := func(args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), systemtest.Patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, cli, append([]string{"--server", s.NATSURL}, args...)...)
		cmd.Env = append(systemtest.Environment(), "XDG_CONFIG_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("nats %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	first := s.First(t, s.conn, func() { do("pub", "finetune.request", string(request)) })
	s.Until(t, first.GetJob(), "succeeded")
	out := do("req", "inference.chat", `{"model":"from-cli","prompt":"hello","max_tokens":4}`, "--replies=0", "--wait-for-empty", "--timeout=30s", "--reply-timeout=30s")
	if !strings.Contains(out, `"finish_reason":`) || !strings.Contains(out, "from-cli@1") {
		t.Errorf("nats req printed %s", out)
	}
	if out := do("service", "ls"); !strings.Contains(out, "finetune-jobs") || !strings.Contains(out, "adapters") {
		t.Errorf("nats service ls printed %s", out)
	}
}

// long is a job that is still training when somebody wants to do something with it.
func (s *run) long(t *testing.T, name string, steps int) (id string) {
	t.Helper()
	first := s.Publish(t, s.conn, s.request(name, map[string]any{"max_steps": steps, "save_steps": 5, "learning_rate": 0.0001}))
	return first.GetJob()
}

func isStep(e *pb.Event) bool { return e.GetType() == bus.EventStep }

func isCheckpoint(e *pb.Event) bool { return strings.HasPrefix(e.GetMessage(), "checkpoint at step") }

func (s *run) control(t *testing.T, id, action string) {
	t.Helper()
	if err := s.conn.Publish("finetune.control."+id, fmt.Appendf(nil, `{"action":%q}`, action)); err != nil {
		t.Fatal(err)
	}
}

// after returns the sequence that follows the last of some events.
func after(events []*pb.Event) uint64 { return events[len(events)-1].GetSeq() + 1 }

func cancelAndAgain(t *testing.T, s *run) {
	id := s.long(t, "cancelled", 1_000_000)
	seen := s.Events(t, id, 0, isStep)
	s.control(t, id, "cancel")
	seen = s.Events(t, id, after(seen), func(e *pb.Event) bool { return e.GetState() == "cancelled" })
	if again := s.long(t, "cancelled", 1_000_000); again != id {
		t.Errorf("sent again the job is %s, not %s", again, id)
	}
	seen = s.Events(t, id, after(seen), isStep)
	view := new(pb.JobView)
	if err := s.Bus.Call(t.Context(), "finetune.jobs.cancel", &pb.CancelJobRequest{Id: id}, view); err != nil {
		t.Fatal(err)
	}
	s.Events(t, id, after(seen), func(e *pb.Event) bool { return e.GetState() == "cancelled" })
}

func pauseAndResume(t *testing.T, s *run) {
	id := s.long(t, "paused", 20)
	seen := s.Events(t, id, 0, isStep)
	s.control(t, id, "pause")
	seen = s.Events(t, id, after(seen), isCheckpoint)
	rec, err := s.Bus.Job(t.Context(), id)
	if err != nil || rec.Job.GetState() != "paused" || rec.Job.GetCheckpoint() == "" {
		t.Fatalf("record = %v, %v", rec.Job, err)
	}
	s.control(t, id, "resume")
	seen = s.Events(t, id, after(seen), func(e *pb.Event) bool { return e.GetState() == "succeeded" })
	checkGoesOn(t, seen)
}

// checkGoesOn looks for the words of a trainer that goes on from a checkpoint.
func checkGoesOn(t *testing.T, events []*pb.Event) {
	t.Helper()
	if !slices.ContainsFunc(events, func(e *pb.Event) bool { return strings.HasPrefix(e.GetMessage(), "training goes on after step") }) {
		t.Errorf("training did not go on from its checkpoint: %v", events)
	}
}

func killedWorker(t *testing.T, s *run) {
	id := s.long(t, "killed", 40)
	seen := s.Events(t, id, 0, isCheckpoint)
	s.Services["trainer"].Kill()
	s.StartService(t, "trainer")
	seen = s.Events(t, id, after(seen), func(e *pb.Event) bool { return e.GetState() == "succeeded" })
	checkGoesOn(t, seen)
	s.checkServed(t, "killed")
}

func restart(t *testing.T, s *run) {
	id := s.long(t, "restarted", 40)
	seen := s.Events(t, id, 0, isStep)
	s.Services["trainer"].Stop(t)
	s.StartService(t, "trainer")
	seen = s.Events(t, id, after(seen), func(e *pb.Event) bool { return e.GetState() == "succeeded" })
	checkGoesOn(t, seen)
	s.checkServed(t, "my-adapter")
	s.checkServed(t, "restarted")
	rec, err := s.Bus.Job(t.Context(), id)
	if err != nil || rec.Job.GetAttempts() != 1 {
		t.Errorf("a stop in good order cost an attempt: %v, %v", rec.Job, err)
	}
}

func (s *run) checkServed(t *testing.T, name string) {
	t.Helper()
	checkAnswer(t, s.Ask(t, s.conn, bus.SubjectChat, fmt.Sprintf(`{"model":%q,"prompt":"hello","max_tokens":4}`, name)), name+"@1")
}
