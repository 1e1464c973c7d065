package inference

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// TestConstrainedAnswers asks the built-in model, with its own tokenizer, for answers of several forms.
func TestConstrainedAnswers(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	text := tinyLanguage(t)
	e, err := generate.New(dev, tinyDir, generate.Options{MaxContext: 256, MaxRows: 2, Slots: -1, UsedVocab: text.tokenizer.VocabSize()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s := &Service{cfg: Defaults(), deps: Deps{Worker: "w"}}
	answers := func(req *pb.ChatRequest) []string {
		t.Helper()
		texts := make([]string, max(1, req.GetN()))
		err := s.reply(t.Context(), target{model: &served{engine: generator{e}, text: text}}, req,
			func(chunk *pb.ChatChunk) error {
				texts[chunk.GetIndex()] += chunk.GetDelta()
				if reason := chunk.GetFinishReason(); reason != "" && reason != "stop" {
					t.Errorf("%q ended by %s", texts[chunk.GetIndex()], reason)
				}
				return nil
			})
		if err != nil {
			t.Fatal(err)
		}
		return texts
	}
	schema := `{"type":"object","properties":{"z":{"type":"string","maxLength":6},"a":{"type":"integer","minimum":1,"maximum":12}},"required":["z","a"]}`
	for _, answer := range answers(&pb.ChatRequest{N: ptr(uint32(4)), Temperature: ptr(2.0), MaxTokens: 100, Seed: ptr(int64(1)),
		ResponseFormat: &pb.ResponseFormat{Type: "json_schema", JsonSchema: &pb.JsonSchema{Schema: schema}}}) {
		var got struct {
			Z *string
			A int
		}
		if err := json.Unmarshal([]byte(answer), &got); err != nil || got.Z == nil || got.A < 1 || got.A > 12 || strings.Index(answer, `"z"`) > strings.Index(answer, `"a"`) {
			t.Errorf("%s: %+v, %v", answer, got, err)
		}
	}
	form := regexp.MustCompile(`^[a-f]{3}-(好|不)\d{2}$`)
	for _, answer := range answers(&pb.ChatRequest{N: ptr(uint32(3)), Temperature: ptr(3.0), MaxTokens: 50, Regex: form.String()}) {
		if !form.MatchString(answer) {
			t.Errorf("%q does not match", answer)
		}
	}
	short := map[int32]float64{text.tokenizer.EncodePlain(`{`)[0]: 100, text.tokenizer.EncodePlain(`}`)[0]: 99}
	if answer := answers(&pb.ChatRequest{MaxTokens: 100, LogitBias: short, ResponseFormat: &pb.ResponseFormat{Type: "json_object"}})[0]; !json.Valid([]byte(answer)) || answer[0] != '{' {
		t.Errorf("%s is no object", answer)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	for want, req := range map[string]*pb.ChatRequest{
		"response_format.type":                                {ResponseFormat: &pb.ResponseFormat{Type: "xml"}},
		"response_format.json_schema.schema":                  {ResponseFormat: &pb.ResponseFormat{Type: "json_schema"}},
		"response_format.json_schema":                         {ResponseFormat: &pb.ResponseFormat{Type: "text", JsonSchema: &pb.JsonSchema{Schema: "{}"}}},
		"response_format.json_schema.schema.properties.a.not": {ResponseFormat: &pb.ResponseFormat{Type: "json_schema", JsonSchema: &pb.JsonSchema{Schema: `{"properties":{"a":{"not":{}}}}`}}},
		"regex": {Regex: "x", ResponseFormat: &pb.ResponseFormat{Type: "json_object"}},
	} {
		_, _, err := ask(t, "x", req)
		var wrong *job.Error
		if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || wrong.Problems[0].Field != want || wrong.Problems[0].Next == "" {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, _, err := ask(t, "x", &pb.ChatRequest{Regex: "a(?=b)"}); err == nil || !strings.Contains(err.Error(), "RE2") {
		t.Errorf("error %v", err)
	}
	if _, _, err := ask(t, "x", &pb.ChatRequest{Regex: "^$"}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("error %v", err)
	}
}

func TestAutomataAreKept(t *testing.T) {
	t.Parallel()
	text := tinyLanguage(t)
	first, _ := text.automaton(form{formRegex, "a0"})
	for i := range maxAutomata - 1 {
		if _, problems := text.automaton(form{formRegex, strings.Repeat("b", i+1)}); problems != nil {
			t.Fatal(problems)
		}
	}
	if again, _ := text.automaton(form{formRegex, "a0"}); again != first {
		t.Error("the automaton was made anew")
	}
	for i := range maxAutomata {
		text.automaton(form{formRegex, strings.Repeat("c", i+1)})
	}
	if again, _ := text.automaton(form{formRegex, "a0"}); again == first || len(text.constraints.recent) != maxAutomata {
		t.Errorf("%d automata are kept", len(text.constraints.recent))
	}
}
