package systemtest

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/chat"
	"descant/pkg/dataset"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// familyCase is a base of one family, rope and window, and a dataset for it.
type familyCase struct {
	name string
	// fields are those of config.json that are not the tiny base's.
	fields map[string]any
	// pieces says that the base has a tokenizer like that of Llama 2 and Mistral, with bytes for what it does not know.
	pieces bool
	// template is the base's chat template; "" is that of the tiny base.
	template string
	// data is a file of DESCANT_DATA_DIR.
	data string
}

func familyCases() []familyCase {
	const (
		llama3 = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|im_end|>{% endfor %}" +
			"{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
		mistral = "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
	)
	return []familyCase{
		{name: "qwen2", data: "alpaca_zh_demo.jsonl",
			fields: map[string]any{"model_type": "qwen2"}},
		{name: "qwen2-window", data: "identity.jsonl",
			fields: map[string]any{"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1}},
		{name: "qwen3", data: "ruozhiba_qa_zh.jsonl",
			fields: map[string]any{"model_type": "qwen3", "head_dim": 24, "attention_bias": true}},
		{name: "llama2", data: "v1_sft_demo.jsonl", pieces: true, template: mistral,
			fields: map[string]any{"model_type": "llama", "attention_bias": true, "mlp_bias": true, "rope_scaling": map[string]any{"type": "linear", "factor": 2}}},
		{name: "llama3", data: "alpaca_en_demo.json", template: llama3,
			fields: map[string]any{"model_type": "llama", "rope_theta": 5e5, "rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8,
				"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 32}}},
		{name: "yi", data: "emollm_multiturn_sample_zh.json",
			fields: map[string]any{"model_type": "llama", "rope_theta": 5e6, "tie_word_embeddings": false}},
		{name: "dynamic", data: "emollm_self_cognition_zh.jsonl",
			fields: map[string]any{"model_type": "llama", "max_position_embeddings": 128, "rope_scaling": map[string]any{"type": "dynamic", "factor": 4}}},
		{name: "mistral", data: "self_instruct_seed_en.jsonl", pieces: true, template: mistral,
			fields: map[string]any{"model_type": "mistral", "sliding_window": 16}},
	}
}

// TestEveryFamily runs a whole job for every family, and every kind of rope and window, on rows that people wrote:
// request, tokenizer, trainer, published adapter, answers, lineage.
func TestEveryFamily(t *testing.T) {
	t.Parallel()
	bases := t.TempDir()
	s := OneProcess(t, "DESCANT_HUB_LOCAL_DIRS="+bases)
	for _, c := range familyCases() {
		t.Run(c.name, func(t *testing.T) {
			base := c.base(t, filepath.Join(bases, c.name))
			rows := c.rows(t, s)
			first := s.Publish(t, s.Raw(t), map[string]any{"model": base, "dataset": "rows-" + c.name, "eval_dataset": "rows-" + c.name, "name": c.name,
				"max_steps": 40, "max_length": 96, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 0.02, "loss_on": "completion"})
			checkLearned(t, s, base, first.GetJob())
			checkFiles(t, s, base, c.name)
			checkServed(t, s, base, c.name, rows)
			for what, state := range verifyChecks(t, ok(t, append(small(t), s.Env()...), "verify", c.name+"@1", "--json").out) {
				if state != "ok" {
					t.Errorf("%s is %s", what, state)
				}
			}
		})
	}
}

// base makes the base in dir. Its matrices are larger than those of an untrained model, so that there is something to
// choose among its directions.
func (c familyCase) base(t *testing.T, dir string) string {
	t.Helper()
	TinyBase(t, dir)
	fields := maps.Clone(c.fields)
	if c.pieces {
		folder := filepath.Join("..", "..", "..", "testdata", "sentencepiece")
		for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
			data, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		maps.Copy(fields, map[string]any{"vocab_size": 326, "bos_token_id": 1, "eos_token_id": 2})
		if err := os.Remove(filepath.Join(dir, "generation_config.json")); err != nil {
			t.Fatal(err)
		}
	}
	if c.template != "" {
		if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(c.template), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	rewriteConfig(t, dir, fields)
	randomWeights(t, dir, 0.15)
	return dir
}

// rows pushes some short questions with their answers of the case's dataset, and gives them. Without DESCANT_DATA_DIR they
// are of the built-in sample.
func (c familyCase) rows(t *testing.T, s *System) (rows [][]chat.Message) {
	t.Helper()
	all := dataset.Sample()
	if dir := os.Getenv("DESCANT_DATA_DIR"); dir != "" {
		var err error
		if all, _, err = dataset.ReadFile(filepath.Join(dir, c.data), dataset.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var text []byte
	for _, row := range all {
		turns := row.Messages
		if turns[0].Role == "system" {
			turns = turns[1:]
		}
		turns = turns[:2]
		if len(rows) == 16 || len(turns[0].Content) > 150 || len(turns[1].Content) < 40 {
			continue
		}
		data, err := json.Marshal(map[string]any{"messages": turns})
		if err != nil {
			t.Fatal(err)
		}
		rows, text = append(rows, turns), append(append(text, data...), '\n')
	}
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Registry.PushDataset(t.Context(), "rows-"+c.name, path, "rows.jsonl", len(rows), time.Now()); err != nil {
		t.Fatal(err)
	}
	return rows
}

// checkLearned holds that the rows are learned: their loss ends well below that of a guess among all tokens alike, which no
// model is below by chance.
func checkLearned(t *testing.T, s *System, base, job string) {
	t.Helper()
	cfg, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for _, event := range s.Until(t, job, "succeeded") {
		if event.GetType() == bus.EventEval {
			losses = append(losses, event.GetEvaluation().GetLoss())
		}
	}
	guess := math.Log(float64(cfg.Vocab))
	t.Logf("a guess has a loss of %.2f; the rows %.2f before and after the training", guess, losses)
	if len(losses) != 2 || !(losses[0] > guess-0.3) || !(losses[1] < guess-1) {
		t.Errorf("the losses of the rows are %v, that of a guess is %g", losses, guess)
	}
}

// checkFiles holds that the published files load as an adapter of the base, and that every matrix in them was trained.
func checkFiles(t *testing.T, s *System, base, name string) {
	t.Helper()
	found, err := s.Registry.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := s.Registry.Fetch(t.Context(), found.Version, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	adapter, err := lora.Load(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	for layer, modules := range adapter.Layers {
		if len(modules) != 7 {
			t.Errorf("layer %d has %d modules", layer, len(modules))
		}
		for _, m := range modules {
			b := adapter.Flats[layer][m.B : m.B+m.Out*m.Rank]
			if !slices.ContainsFunc(b, func(x float32) bool { return x != 0 }) {
				t.Errorf("layer %d: B of %s is zero", layer, m.Local)
			}
		}
	}
}

// checkServed holds that the inference service answers with what was trained: otherwise than the base, and with less
// surprise at the answers of the dataset.
func checkServed(t *testing.T, s *System, base, name string, rows [][]chat.Message) {
	t.Helper()
	conn := s.Raw(t)
	ask := func(of string, question chat.Message, more map[string]any) Answer {
		request := map[string]any{"model": of, "messages": []chat.Message{question}, "max_tokens": 64, "temperature": 0, "logprobs": true}
		maps.Copy(request, more)
		data, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		answer := s.Ask(t, conn, bus.SubjectChat, string(data))
		if problem := answer.Last().GetError(); problem != nil {
			t.Fatalf("%s of %s: %v", data, of, problem)
		}
		return answer
	}
	// loss is that of a text as an answer, in nats: the model has no choice but to say it.
	loss := func(of string, question chat.Message, text string) (nats float64) {
		answer := ask(of, question, map[string]any{"regex": regexp.QuoteMeta(text)})
		if answer.Text != text {
			t.Fatalf("%s said %q where only %q is allowed", of, answer.Text, text)
		}
		for _, chunk := range answer.Chunks {
			for _, token := range chunk.GetLogprobs() {
				nats -= token.GetLogprob()
			}
		}
		return nats
	}
	var trained, bare float64
	characters := 0
	for _, row := range rows[:6] {
		question, said := row[0], string([]rune(row[1].Content)[:12])
		trained, bare = trained+loss(name, question, said), bare+loss(base, question, said)
		characters += 12
		theirs, ours := ask(base, question, nil), ask(name, question, nil)
		if theirs.Text == ours.Text || ours.Last().GetModel() != name+"@1" {
			t.Errorf("%q: the base says %q, %s says %q", question.Content, theirs.Text, ours.Last().GetModel(), ours.Text)
		}
	}
	t.Logf("nats per character of answers as they are served: %.2f with the adapter, %.2f without", trained/float64(characters), bare/float64(characters))
	if trained > 0.9*bare {
		t.Errorf("the answers of the rows have a loss of %g, without the adapter %g", trained, bare)
	}
}

// rewriteConfig changes fields of a base's config.json.
func rewriteConfig(t *testing.T, dir string, fields map[string]any) {
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
	maps.Copy(config, fields)
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
