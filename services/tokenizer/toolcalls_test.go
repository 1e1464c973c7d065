package tokenizer

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/models"
	"descant/pkg/dataset"
)

// toolTemplate writes calls and answers of tools as Qwen2.5's own template does.
const toolTemplate = `{%- if tools %}{{- '<|im_start|>system\n# Tools\n' }}{%- for tool in tools %}{{- tool | tojson + '\n' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
    {%- elif m.tool_calls %}
        {{- '<|im_start|>assistant' }}
        {%- for call in m.tool_calls %}{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}\n</tool_call>' }}{%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}`

// tinyWith is the tiny base's tokenizer with another chat template.
func tinyWith(t *testing.T, template string) *Encoder {
	t.Helper()
	all, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := fs.ReadFile(all["tiny"], name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "tokenizer_config.json" && template != "" {
			var config map[string]any
			if err := json.Unmarshal(data, &config); err != nil {
				t.Fatal(err)
			}
			config["chat_template"] = template
			if data, err = json.Marshal(config); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	enc, err := OpenEncoder(dir, "tiny")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { enc.Close() })
	return enc
}

// TestTrainedOfToolCalls pins what is trained in conversations with tools: every turn that the assistant writes, the calls
// as well as the answers before and after them, each with its end of turn; never a tool's answer or the list of tools.
// LLaMA-Factory trains the same turns (function_call and gpt), and transformers' mask of assistant tokens has them too.
func TestTrainedOfToolCalls(t *testing.T) {
	t.Parallel()
	enc := tinyWith(t, toolTemplate)
	const row = `{"conversations": [{"from": "human", "value": "weather?"}, {"from": "function_call", "value": "{\"name\": \"look\", \"arguments\": {\"city\": \"Rome\"}}"},
 {"from": "observation", "value": "sunny"}, {"from": "gpt", "value": "It is sunny."}, {"from": "human", "value": "thanks"}, {"from": "gpt", "value": "Welcome."}],
 "tools": "[{\"name\": \"look\"}]"}`
	rows, _, err := dataset.ReadAll(strings.NewReader(row), "rows.json", dataset.ReadOptions{})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d rows: %v", len(rows), err)
	}
	ids, answers, err := enc.Encode(rows[0])
	if err != nil {
		t.Fatal(err)
	}
	// The line end before a call is the one behind "assistant", which the generation prompt holds.
	const call = "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call><|im_end|>"
	for lossOn, want := range map[string]string{
		dataset.LossCompletion: call + "It is sunny.<|im_end|>Welcome.<|im_end|>",
		dataset.LossLastTurn:   "Welcome.<|im_end|>",
	} {
		uses, err := dataset.Uses(rows[0], ids, answers, dataset.TokeniseOptions{LossOn: lossOn})
		if err != nil {
			t.Fatal(err)
		}
		var trained []int32
		for i, use := range uses {
			if use == dataset.UseTrained {
				trained = append(trained, ids[i])
			}
		}
		if got := enc.Decode(trained, false); got != want {
			t.Errorf("%s trains %q, want %q", lossOn, got, want)
		}
	}
}
