package inference

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"descant/pkg/generate"
	"descant/pkg/pb"
	"descant/pkg/tokenizer"
)

// dice is an engine that chooses among what the constraint allows without a look at any model.
type dice struct {
	fakeEngine
	random *rand.Rand
}

func (e *dice) MaxContext() int { return 2048 }

func (e *dice) Generate(_ context.Context, req generate.Request, emit func(generate.Token) error) (generate.Finish, error) {
	for !req.Constraint.Done() {
		allowed, end := req.Constraint.Allowed()
		var ids []int32
		for id := range int32(64 * len(allowed)) {
			if allowed[id/64]&(1<<(id%64)) != 0 {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 && !end {
			return generate.Finish{}, generate.ErrDeadEnd
		}
		if len(ids) == 0 || end && e.random.IntN(4) == 0 {
			break
		}
		id := ids[e.random.IntN(len(ids))]
		req.Constraint.Accept(id)
		if err := emit(generate.Token{ID: id}); err != nil {
			return generate.Finish{}, err
		}
	}
	return generate.Finish{Reason: generate.ReasonStop}, nil
}

// TestConstraintsOverSentencePiece: answers of a tokenizer like that of Llama 2 have their form, with spaces that are parts of
// tokens, a space that is lost where the text begins, and characters in bytes.
func TestConstraintsOverSentencePiece(t *testing.T) {
	t.Parallel()
	tok, err := tokenizer.Load(filepath.Join("..", "..", "testdata", "sentencepiece"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tok.Close)
	s := &Service{cfg: Defaults(), deps: Deps{Worker: "w"}}
	to := target{model: &served{engine: &dice{random: rand.New(rand.NewPCG(1, 2))}, text: &language{tokenizer: tok}}}
	answer := func(req *pb.ChatRequest) (text string) {
		t.Helper()
		req.Text = ptr("the ")
		q, err := s.prepare(to, req, nil, nil)
		if err == nil {
			err = s.generate(t.Context(), to, req, q, func(chunk *pb.ChatChunk) error { text += chunk.GetDelta(); return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, form := range []string{`the [a-z]{1,5} in`, ` the [0-9]{2}`, `(好|é|\n){1,3}`, `  12`} {
		whole := regexp.MustCompile("^(" + form + ")$")
		for range 10 {
			if got := answer(&pb.ChatRequest{Regex: form}); !whole.MatchString(got) {
				t.Errorf("%q does not match %q", got, form)
			}
		}
	}
	schema := `{"type":"object","properties":{"a":{"type":"string","maxLength":5},"the":{"type":"array","items":{"enum":[1,12]},"maxItems":3}},"required":["a","the"]}`
	for range 10 {
		got := answer(&pb.ChatRequest{ResponseFormat: &pb.ResponseFormat{Type: "json_schema", JsonSchema: &pb.JsonSchema{Schema: schema}}})
		var value struct {
			A   *string
			The []int
		}
		dec := json.NewDecoder(strings.NewReader(got))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&value); err != nil || value.A == nil || value.The == nil {
			t.Errorf("%s: %+v, %v", got, value, err)
		}
	}
}
