package systemtest_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"descant/cmd/descant/systemtest"
	"descant/pkg/bus"
	"descant/pkg/model"
	"descant/pkg/pb"
	"descant/pkg/safetensors"
)

// TestSharing: 64 adapters over 8 slots of one worker, one of them in a flood. Each answer is that which its adapter gives
// alone, nothing is refused or lost, and every adapter has its first answer after a bounded number of others.
func TestSharing(t *testing.T) {
	const adapters, rank, flood, each = 64, 4, 128, 4
	s := systemtest.Distributed(t)
	s.Services["inference"].Stop(t)
	worker := s.StartExtra(t, "inference", "DESCANT_WORKER=one", "DESCANT_INFERENCE_MODEL="+s.Base, "DESCANT_INFERENCE_MAX_ROWS=8",
		"DESCANT_INFERENCE_SLOTS=8", fmt.Sprint("DESCANT_INFERENCE_MAX_RANK=", rank), "DESCANT_INFERENCE_MAX_WAITING=1000", "DESCANT_INFERENCE_MAX_WAIT=10m")
	base := s.WaitAdvert(t, func(w *pb.WorkerAdvert) bool { return w.GetReady() && len(w.GetBases()) == 1 }).GetBases()[0]
	alone, different := make([]string, adapters), map[string]bool{}
	conn := s.Raw(t)
	request := func(i int) string {
		return fmt.Sprintf(`{"model":"adapter-%d","prompt":"hello","max_tokens":4,"temperature":0,"stream":false}`, i)
	}
	for i := range adapters {
		dir := t.TempDir()
		randomAdapter(t, s.Base, dir, rank, uint64(i))
		if _, err := s.Registry.Publish(t.Context(), dir, &pb.AdapterManifest{Name: fmt.Sprint("adapter-", i), Base: base.GetBase(),
			BaseDigest: base.GetDigest(), CreatedAt: bus.Timestamp(time.Now())}); err != nil {
			t.Fatal(err)
		}
		answer := s.Ask(t, conn, bus.SubjectChat, request(i))
		if answer.Last().GetError() != nil {
			t.Fatalf("adapter %d alone: %v", i, answer.Last())
		}
		alone[i], different[answer.Text] = answer.Text, true
	}
	if len(different) < adapters/2 {
		t.Fatalf("%d adapters give %d different answers: the test would not see one in the place of another", adapters, len(different))
	}

	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox + ".*")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(i int) {
		if err := conn.PublishRequest(bus.SubjectChat, fmt.Sprint(inbox, ".", i), []byte(request(i))); err != nil {
			t.Fatal(err)
		}
	}
	for range flood {
		ask(0)
	}
	for i := range each * (adapters - 1) {
		ask(1 + i%(adapters-1))
	}
	done, first := map[int]int{}, map[int]int{}
	for total := range flood + each*(adapters-1) {
		i, chunk := nextAnswer(t, answers)
		if chunk.GetError() != nil || chunk.GetDelta() != alone[i] || chunk.GetModel() != fmt.Sprintf("adapter-%d@1", i) {
			t.Fatalf("adapter %d answers %v, alone %q", i, chunk, alone[i])
		}
		if done[i]++; done[i] == 1 {
			first[i] = total
		}
	}
	worst := 0
	for i := 1; i < adapters; i++ {
		worst = max(worst, first[i])
		if done[i] != each {
			t.Errorf("adapter %d has %d answers, want %d", i, done[i], each)
		}
	}
	// A lap of turns is 64 answers; what was running before and those that passed over are few.
	if worst > 2*adapters {
		t.Errorf("an adapter had its first answer after %d others, want at most %d", worst, 2*adapters)
	}
	t.Logf("%d adapters over 8 slots, a flood of %d requests before %d others: every adapter has its first answer after at most %d of %d answers",
		adapters, flood, each*(adapters-1), worst, flood+each*(adapters-1))
	worker.Stop(t)
}

// nextAnswer returns the next whole answer, and for which adapter it is.
func nextAnswer(t *testing.T, answers *nats.Subscription) (adapter int, chunk *pb.ChatChunk) {
	t.Helper()
	for {
		msg, err := answers.NextMsg(systemtest.Patience)
		if err != nil {
			t.Fatalf("an answer is missing: %v", err)
		}
		if len(msg.Data) == 0 {
			continue // the end of an answer
		}
		if _, err := fmt.Sscanf(filepath.Ext(msg.Subject), ".%d", &adapter); err != nil {
			t.Fatalf("subject %s: %v", msg.Subject, err)
		}
		chunk = new(pb.ChatChunk)
		if err := bus.FromJSON(msg.Data, chunk); err != nil {
			t.Fatal(err)
		}
		return adapter, chunk
	}
}

// randomAdapter writes an adapter of random weights, strong enough to change every answer.
func randomAdapter(t *testing.T, base, dir string, rank int, seed uint64) {
	t.Helper()
	config, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seed, 1))
	var tensors []safetensors.Tensor
	for _, want := range config.Tensors() {
		var layer int
		if _, err := fmt.Sscanf(want.Name, "model.layers.%d.mlp.down_proj.weight", &layer); err != nil {
			continue
		}
		for name, shape := range map[string][]int{"lora_A": {rank, want.Shape[1]}, "lora_B": {want.Shape[0], rank}} {
			data := make([]byte, 0, 4*shape[0]*shape[1])
			for range shape[0] * shape[1] {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(random.NormFloat64())))
			}
			tensors = append(tensors, safetensors.Tensor{Name: fmt.Sprintf("base_model.model.model.layers.%d.mlp.down_proj.%s.weight", layer, name),
				DType: safetensors.F32, Shape: shape, Data: data})
		}
	}
	if err := safetensors.Write(filepath.Join(dir, "adapter_model.safetensors"), tensors, nil); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank,
		"lora_alpha": 2 * rank, "target_modules": []string{"down_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}
