package tokenizer

import (
	"errors"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestCheckShape holds what is told of an adapter to go on from before a row is tokenized.
func TestCheckShape(t *testing.T) {
	t.Parallel()
	config, err := model.ReadConfig(modeltest.Cases(t, "train.json")[0].Base())
	if err != nil {
		t.Fatal(err)
	}
	request, problems := job.ParseRequest([]byte(`{"model":"m","dataset":"d","init_from":"parent@1","r":8,"target_modules":".*\\.(q|v)_proj"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	spec := job.Spec{Model: "m", Training: request.Training}
	parent := func(r, modules string) string {
		return `{"peft_type":"LORA","r":` + r + `,"lora_alpha":16,"target_modules":` + modules + `}`
	}
	for name, c := range map[string]struct{ config, want string }{
		"same":          {parent("8", `["q_proj","v_proj"]`), ""},
		"rank":          {parent("4", `["q_proj","v_proj"]`), "the adapter of init_from has 4"},
		"modules":       {parent("8", `["q_proj"]`), "target_modules"},
		"no module":     {parent("8", `["c_attn"]`), "cannot go on from adapter parent@1"},
		"not an object": {`[]`, "cannot go on from adapter parent@1"},
	} {
		err := checkShape(config, spec, []byte(c.config))
		var told *job.Error
		switch {
		case c.want == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &told) || told.Class != job.User || !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v, expected a user error with %q", name, err, c.want)
		}
	}
}
