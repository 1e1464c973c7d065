package job

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestDataOptions(t *testing.T) {
	t.Parallel()
	r, problems := ParseRequest([]byte(`{"model":"m","datasets":["a",{"name":"b","weight":0.5}],"columns":{"output":"answer"},"truncation_mode":"drop","loss_on":"last_turn","default_system":"s"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if want := (Mixture{{"a", 1}, {"b", 0.5}}); !slices.Equal(r.Datasets, want) || r.Columns["output"] != "answer" || r.TruncationMode != Drop || r.DefaultSystem != "s" {
		t.Errorf("request %+v", r)
	}
	parts := []SpecDataset{{"a", "sha256:1", "sha256:1", 1}, {"b", "sha256:2", "sha256:2", 0.5}}
	spec := NewMixtureSpec(r, parts, nil)
	back, err := ParseSpec(spec.Canonical())
	if err != nil || back.ID() != spec.ID() || !slices.Equal(back.Parts(), parts) || spec.Dataset != "a=1,b=0.5" {
		t.Errorf("spec %+v, %v", back, err)
	}
	parts[1].Weight = 0.25
	if other := NewMixtureSpec(r, parts, nil); other.ID() == spec.ID() || other.DatasetDigest == spec.DatasetDigest {
		t.Error("another weight is the same job")
	}
	if one := NewSpec(r, "d", "sha256:1", nil).Parts(); len(one) != 1 || one[0].Weight != 1 || one[0].Dataset != "d" {
		t.Errorf("parts of a single dataset %+v", one)
	}
}

func TestDataProblems(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		`"dataset":"a","datasets":["b"]`:                                       "stand beside dataset",
		`"datasets":["a","a"]`:                                                 "is there twice",
		`"datasets":[{"name":"a","weight":0}]`:                                 "datasets[1].weight",
		`"datasets":[{"name":"a","weihgt":1}]`:                                 `did you mean "weight"?`,
		`"datasets":"a"`:                                                       "must be a list",
		`"datasets":[{"weight":1}]`:                                            "has no name",
		`"dataset":"a","truncation_mode":"keep_middle"`:                        "keep_start, keep_end, drop or error",
		`"dataset":"a","columns":{"answer":"output"}`:                          "is not a field of a row",
		`"dataset":"a","columns":{"output":"x","instruction":"x"}`:             "stands for both",
		`"dataset":"a","columns":["output"]`:                                   "must be an object",
		`"dataset":"a","loss_on":"answers"`:                                    "last_turn",
		`"dataset":"a","default_system":"` + strings.Repeat("s", 33<<10) + `"`: "is longer than",
	} {
		_, problems := ParseRequest([]byte(`{"model":"m",` + request + `}`))
		if len(problems) == 0 || !strings.Contains(Problems(problems).Error(), want) {
			t.Errorf("%.60s: %v, want %q", request, problems, want)
		}
	}
}

func TestDataFlags(t *testing.T) {
	t.Parallel()
	var m Mixture
	if err := m.UnmarshalText([]byte("a.jsonl, s3://rows=2 ,builtin:sample=0.5")); err != nil {
		t.Fatal(err)
	}
	if want := (Mixture{{"a.jsonl", 1}, {"s3://rows", 2}, {"builtin:sample", 0.5}}); !slices.Equal(m, want) {
		t.Errorf("datasets %v, want %v", m, want)
	}
	if text := m.String(); text != "a.jsonl=1,s3://rows=2,builtin:sample=0.5" {
		t.Errorf("text %q", text)
	}
	if err := m.UnmarshalText([]byte("a=x")); err == nil || !strings.Contains(err.Error(), "not a number") {
		t.Errorf("a weight that is no number: %v", err)
	}
	var c Columns
	if err := c.UnmarshalText([]byte("output=answer, instruction = the question")); err != nil || c.String() != "instruction=the question,output=answer" {
		t.Errorf("columns %v, %v", c, err)
	}
	for _, text := range []string{"output", "output=", "=x", "output=a,output=b"} {
		if err := new(Columns).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("columns %q are taken", text)
		}
	}
	if data, err := json.Marshal(Columns(nil)); err != nil || string(data) != "{}" {
		t.Errorf("no columns are %s, %v", data, err)
	}
}
