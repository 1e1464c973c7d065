package dataset

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"descant/pkg/chat"
)

func survey(t *testing.T, data string, opts SurveyOptions) (*Survey, error) {
	t.Helper()
	return Inspect(t.Context(), NewReader(strings.NewReader(data), "rows.jsonl", ReadOptions{}), opts)
}

func TestInspect(t *testing.T) {
	t.Parallel()
	const data = `{"instruction":"你好","output":"你好！"}
{"instruction":"What is the capital of France?","output":"It is Paris."}

{"instruction":"你好","output":"你好！"}
`
	// The encoder writes a byte an id, so that row 2 has 2 marks of two turns each more than its 42 bytes.
	s, err := survey(t, data, SurveyOptions{Encode: byteEncoder, Tokenise: TokeniseOptions{LossOn: LossCompletion, MaxLength: 20}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Report.Rows != 3 || s.Languages["zh"] != 2 || s.Languages["en"] != 1 || s.Characters.Max != 42 || s.Characters.P50 != 5 {
		t.Errorf("survey %+v", s)
	}
	if want := []Repeat{{Place: 4, First: 1}}; !slices.Equal(s.Report.RepeatedRows, want) || s.Report.Repeats != 1 {
		t.Errorf("repeats %v, want %v", s.Report.RepeatedRows, want)
	}
	tokens := s.Tokens
	if tokens.WholeLengths.Max != 46 || tokens.Lengths.Max != 19 || tokens.Rows != 2 || tokens.TrainedTokens != 20 || tokens.AnswerTokens != 20 || !tokens.LeftOut.Lines.Has(2) {
		t.Errorf("tokens %+v", tokens)
	}
	if len(tokens.Shards) != 0 {
		t.Errorf("the shards %v were written", tokens.Shards)
	}
	_, err = survey(t, data+"{}\n", SurveyOptions{})
	var bad *ValidationError
	if !errors.As(err, &bad) || !bad.Lines.Has(5) {
		t.Errorf("error %v", err)
	}
	if _, err = survey(t, data, SurveyOptions{Encode: byteEncoder, Tokenise: TokeniseOptions{MaxLength: 20, Truncation: Refuse}}); !errors.As(err, &bad) || !bad.Lines.Has(2) || bad.Total != 1 {
		t.Errorf("a long row is no problem: %v", err)
	}
}

func TestLeak(t *testing.T) {
	t.Parallel()
	const eval = `{"instruction":"Who are you?","output":"A."}
{"instruction":"2+2?","output":"4"}
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}
{"instruction":"！","output":"x"}
`
	const train = `{"instruction":"who are YOU","output":"a"}
{"instruction":"2+2?","output":"5"}
{"instruction":"2-2?","output":"4"}
{"instruction":"c","output":"d"}
{"instruction":"c","output":"e","history":[["a","b"]]}
{"system":"s","instruction":"ｗho are you?","output":"A"}
{"instruction":"?","output":"x"}
`
	check, err := NewLeakCheck(NewReader(strings.NewReader(eval), "eval.jsonl", ReadOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := survey(t, train, SurveyOptions{Leak: check})
	if err != nil {
		t.Fatal(err)
	}
	want := []LeakPair{{1, 1, true, ""}, {2, 2, false, ""}, {5, 3, false, ""}, {6, 1, true, ""}}
	if l := s.Leak; !slices.Equal(l.Pairs, want) || l.SameRow != 2 || l.SameQuestion != 2 || l.Leaked != 3 || l.Rows != 4 || l.File != "eval.jsonl" {
		t.Errorf("leak %+v, want the pairs %v", l, want)
	}
	if _, err := NewLeakCheck(NewReader(strings.NewReader("{}"), "eval.jsonl", ReadOptions{})); !IsInvalid(err) {
		t.Errorf("bad evaluation rows: %v", err)
	}
}

func TestLanguage(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"请把下面的句子翻译成英文：hello world": "zh", "日本語のテキストを要約してください。": "ja", "안녕하세요 세계": "ko",
		"Write a short story about the sea and my dog.": "en", "Écris une courte histoire sur la mer.": "latin",
		"Напиши рассказ о море": "cyrillic", "اكتب قصة": "arabic", "12 + 30 = ?": LanguageOther,
	} {
		if got := Language(Row{Messages: []chat.Message{{Role: "user", Content: text}}}); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	ids, answers := []int32{1, 2, 3, 4}, []int{NoAnswer, NoAnswer, 1, 1}
	for _, c := range []struct {
		opts TokeniseOptions
		want []Use
	}{
		{TokeniseOptions{}, []Use{UseContext, UseTrained, UseTrained, UseTrained}},
		{TokeniseOptions{LossOn: LossCompletion, MaxLength: 3}, []Use{UseContext, UseContext, UseTrained, UseCut}},
		{TokeniseOptions{MaxLength: 3, Truncation: KeepEnd}, []Use{UseCut, UseContext, UseTrained, UseTrained}},
		{TokeniseOptions{MaxLength: 3, Truncation: Drop}, []Use{UseCut, UseCut, UseCut, UseCut}},
	} {
		got, err := Uses(Row{}, ids, answers, c.opts)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v %v, want %v", c.opts, got, err, c.want)
		}
	}
	if _, err := Uses(Row{}, ids, answers, TokeniseOptions{LossOn: "all"}); err == nil {
		t.Error("an unknown loss_on is taken")
	}
}
