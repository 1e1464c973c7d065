package generate

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"descant/pkg/device"
	"descant/pkg/grammar"
)

// TestConstrainedOutputsSatisfyTheSchema has a model with random weights write JSON, several outputs at a time, and an
// independent library judge it. A seed gives the same whatever the neighbours.
func TestConstrainedOutputsSatisfyTheSchema(t *testing.T) {
	t.Parallel()
	// Ids up to 255 are the bytes, others have more of them, as in a real vocabulary.
	var tokens [][]byte
	for b := range 256 {
		tokens = append(tokens, []byte{byte(b)})
	}
	for _, text := range []string{`{"`, `":`, `", "`, `"}`, `[]`, `null`, `true`, `12`, `好`, "\xe5\xa5", `\n`, `\u00`, ` "name"`, `"name`, `dog"`, `}]`, `"]`, `,"`} {
		tokens = append(tokens, []byte(text))
	}
	end := int32(len(tokens))
	vocabulary := grammar.NewVocabulary(tokens)
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 4, MaxContext: 512, Slots: -1, UsedVocab: len(tokens) + 1})
	bias := map[int32]float64{'"': 6, '}': 6, ']': 6, end: 6}
	for _, schema := range []string{
		`{"type":"object","properties":{"name":{"type":"string","maxLength":5},"age":{"type":"integer","minimum":0,"maximum":120},"tags":{"type":"array","items":{"enum":["a","dog","好"]},"minItems":1}},"required":["name","tags"]}`,
		`{"$defs":{"tree":{"type":"object","properties":{"v":{"type":"boolean"},"next":{"anyOf":[{"$ref":"#/$defs/tree"},{"type":"null"}]}},"required":["next"]}},"$ref":"#/$defs/tree"}`,
		`{"type":"object","additionalProperties":{"type":["number","null"]}}`,
		`{}`,
	} {
		g, err := grammar.JSONSchema(schema)
		if err != nil {
			t.Fatal(err)
		}
		judge := judgeOf(t, schema)
		automaton := g.Over(vocabulary)
		generate := func(seed int) (string, Finish) {
			req := Request{Prompt: []int32{1, 2, int32(seed)}, MaxTokens: 200, StopIDs: []int32{end}, Constraint: automaton.Start(),
				Sampling: Sampling{Temperature: 0.5 + float64(seed)/10, LogitBias: bias, PresencePenalty: 0.3, FrequencyPenalty: 0.1, Seed: uint64(seed)}}
			var text strings.Builder
			finish, err := e.Generate(t.Context(), req, func(token Token) error {
				text.Write(tokens[token.ID])
				return nil
			})
			if err != nil {
				t.Errorf("%s: %v after %s", schema, err, &text)
			}
			return text.String(), finish
		}
		texts := make([]string, 25)
		whole := map[string]bool{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for seed := range texts {
			wg.Go(func() {
				text, finish := generate(seed)
				texts[seed] = text
				if finish.Reason != ReasonStop {
					return
				}
				if err := judge(text); err != nil {
					t.Errorf("%s: %s: %v", schema, text, err)
				}
				mu.Lock()
				whole[text] = true
				mu.Unlock()
			})
		}
		wg.Wait()
		if len(whole) < 10 {
			t.Errorf("%s: only %d different outputs came to an end: the test shows little", schema, len(whole))
		}
		for seed := range 3 {
			if alone, _ := generate(seed); alone != texts[seed] {
				t.Errorf("%s: seed %d gives %s alone and %s among others", schema, seed, alone, texts[seed])
			}
		}
	}
}

// judgeOf is the library's judgement of a schema's values.
func judgeOf(t *testing.T, schema string) func(text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			return err
		}
		return compiled.Validate(value)
	}
}
