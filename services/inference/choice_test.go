package inference

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"descant/pkg/chat"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// script is an engine that answers with the tokens of a text.
type script struct {
	fakeEngine
	ids   []int32
	stop  int32
	asked chan generate.Request
}

func (e *script) MaxContext() int { return 2048 }

func (e *script) Generate(_ context.Context, req generate.Request, emit func(generate.Token) error) (generate.Finish, error) {
	e.asked <- req
	for i, id := range e.ids {
		token := generate.Token{ID: id}
		if req.Logprobs {
			token.Logprob = -float64(i)
			for n := range req.TopLogprobs {
				token.Top = append(token.Top, generate.Logprob{ID: int32(n), Logprob: -float64(n)})
			}
		}
		if err := emit(token); err != nil {
			return generate.Finish{PromptTokens: len(req.Prompt), CachedTokens: 3}, err
		}
	}
	return generate.Finish{Reason: generate.ReasonStop, StopID: e.stop, PromptTokens: len(req.Prompt), CompletionTokens: len(e.ids) + 1, CachedTokens: 3}, nil
}

// tinyDir is the built-in base.
var tinyDir = func() string {
	dir, err := filepath.Abs(filepath.Join("..", "..", "models", "tiny"))
	if err != nil {
		panic(err)
	}
	return dir
}()

func tinyLanguage(t *testing.T) *language {
	t.Helper()
	text, err := openLanguage(registry.Base{Ref: "builtin:tiny", Dir: tinyDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(text.close)
	return text
}

// ask lets a scripted model answer with a text and returns the chunks and what the engine was asked.
func ask(t *testing.T, answer string, req *pb.ChatRequest) (chunks []*pb.ChatChunk, asked []generate.Request, err error) {
	t.Helper()
	text := tinyLanguage(t)
	e := &script{ids: text.tokenizer.EncodePlain(answer), asked: make(chan generate.Request, maxChoices)}
	s := &Service{cfg: Defaults(), deps: Deps{Worker: "w"}}
	to := target{model: &served{engine: e, text: text}}
	err = s.reply(t.Context(), to, req, func(chunk *pb.ChatChunk) error { chunks = append(chunks, chunk); return nil })
	close(e.asked)
	for req := range e.asked {
		asked = append(asked, req)
	}
	return chunks, asked, err
}

// reply has a model answer "hi" without a turn at its gate.
func (s *Service) reply(ctx context.Context, to target, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
	q, err := s.prepare(to, req, []chat.Message{chat.NewMessage("user", "hi")}, nil)
	if err != nil {
		return err
	}
	return s.generate(ctx, to, req, q, send)
}

func ptr[T any](value T) *T { return &value }

func TestEachChoiceHasItsOwnSeedAndEnd(t *testing.T) {
	t.Parallel()
	chunks, asked, err := ask(t, "one two", &pb.ChatRequest{Id: "r", N: ptr(uint32(3)), Seed: ptr(int64(40))})
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for _, req := range asked {
		seeds = append(seeds, req.Sampling.Seed)
	}
	slices.Sort(seeds)
	if !slices.Equal(seeds, []uint64{40, 41, 42}) {
		t.Errorf("seeds %v", seeds)
	}
	texts := make([]string, 3)
	ends := 0
	for i, chunk := range chunks {
		texts[chunk.GetIndex()] += chunk.GetDelta()
		if chunk.GetFinishReason() == "stop" {
			ends++
		}
		if (chunk.GetUsage() != nil) != (i == len(chunks)-1) {
			t.Errorf("chunk %d of %d has usage %v", i, len(chunks), chunk.GetUsage())
		}
	}
	use := chunks[len(chunks)-1].GetUsage()
	each := uint32(len(tinyLanguage(t).tokenizer.EncodePlain("one two")) + 1)
	if ends != 3 || !slices.Equal(texts, []string{"one two", "one two", "one two"}) || use.GetCompletionTokens() != 3*each ||
		use.GetTotalTokens() != use.GetPromptTokens()+3*each || use.GetCachedTokens() != 3 || use.GetPromptTokens() != uint32(len(asked[0].Prompt)) {
		t.Errorf("texts %q, %d ends, usage %v", texts, ends, use)
	}
}

// TestLogprobsFollowTheText sends the tokens of a text with it, and none of a stop text.
func TestLogprobsFollowTheText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ answer, want, tokens string }{{"a 你好 END of it", "a 你好 ", "a 你好"}, {"over 好的", "over 好的", "over 好的"}} {
		for _, stream := range []bool{true, false} {
			req := &pb.ChatRequest{Logprobs: ptr(true), TopLogprobs: ptr(uint32(2)), Stop: []string{"END"}}
			var chunks []*pb.ChatChunk
			got, asked, err := ask(t, c.answer, req)
			if err != nil || !asked[0].Logprobs || asked[0].TopLogprobs != 2 {
				t.Fatalf("%v, asked %+v", err, asked)
			}
			collect := func(chunk *pb.ChatChunk) error { chunks = append(chunks, chunk); return nil }
			send := collect
			if !stream {
				send = whole(collect)
			}
			for _, chunk := range got {
				if err := send(chunk); err != nil {
					t.Fatal(err)
				}
			}
			text, data, places := "", []byte(nil), 0
			for _, chunk := range chunks {
				text += chunk.GetDelta()
				for _, p := range chunk.GetLogprobs() {
					for _, b := range p.GetBytes() {
						data = append(data, byte(b))
					}
					if p.GetLogprob() != -float64(places) || len(p.GetTopLogprobs()) != 2 || p.GetToken() == "" {
						t.Errorf("%q: place %d: %v", c.answer, places, p)
					}
					places++
				}
				if !strings.HasPrefix(text, string(data)) {
					t.Errorf("%q: the tokens %q go before the text %q", c.answer, data, text)
				}
			}
			if text != c.want || string(data) != c.tokens || !stream && len(chunks) != 1 {
				t.Errorf("%q: text %q, tokens %q in %d chunks", c.answer, text, data, len(chunks))
			}
		}
	}
}

func TestStopTextsBeforeMinTokens(t *testing.T) {
	t.Parallel()
	text := tinyLanguage(t)
	n := len(text.tokenizer.EncodePlain("x END y"))
	chunks, asked, err := ask(t, "x END y END z", &pb.ChatRequest{Stop: []string{"END"}, MinTokens: ptr(uint32(n)), StopTokenIds: []int32{5}})
	var got strings.Builder
	for _, chunk := range chunks {
		got.WriteString(chunk.GetDelta())
	}
	if err != nil || got.String() != "x END y " || asked[0].MinTokens != n {
		t.Errorf("%q, %v", got.String(), err)
	}
	if want := append([]int32{5}, text.tokenizer.EOS()...); !slices.Equal(asked[0].StopIDs, want) {
		t.Errorf("stop ids %v, want %v", asked[0].StopIDs, want)
	}
	if _, asked, err = ask(t, "x", &pb.ChatRequest{IgnoreEos: ptr(true), StopTokenIds: []int32{5}}); err != nil || !slices.Equal(asked[0].StopIDs, []int32{5}) {
		t.Errorf("stop ids %v with ignore_eos, %v", asked, err)
	}
}

func TestAllProblemsOfARequestAreTold(t *testing.T) {
	t.Parallel()
	_, _, err := ask(t, "x", &pb.ChatRequest{
		N: ptr(uint32(129)), Stop: []string{"a", ""}, StopTokenIds: []int32{1 << 20, -1}, Temperature: ptr(-1.0), TopP: ptr(2.0), MinP: ptr(-1.0),
		PresencePenalty: ptr(2.5), FrequencyPenalty: ptr(-2.5), LogitBias: map[int32]float64{1 << 20: 1, 3: 200}, TopLogprobs: ptr(uint32(5)),
		MaxTokens: 3, MinTokens: ptr(uint32(4)), ResponseFormat: &pb.ResponseFormat{Type: "xml"},
	})
	var wrong *job.Error
	if !errors.As(err, &wrong) || wrong.Class != job.User || wrong.Code != job.CodeBadRequest {
		t.Fatalf("error %v", err)
	}
	var fields []string
	for _, p := range wrong.Problems {
		fields = append(fields, p.Field)
	}
	for _, want := range []string{"n", "stop[1]", "stop_token_ids[0]", "stop_token_ids[1]", "temperature", "top_p", "min_p", "presence_penalty",
		"frequency_penalty", "logit_bias", "logit_bias[3]", "top_logprobs", "min_tokens", "response_format.type"} {
		if !slices.Contains(fields, want) {
			t.Errorf("no problem with %s among %v", want, fields)
		}
	}
	if n := len(wrong.Problems); n != 14 {
		t.Errorf("%d problems: %v", n, err)
	}
}
