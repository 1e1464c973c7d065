package job

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestParseRequestFillsDefaults(t *testing.T) {
	t.Parallel()
	r, problems := ParseRequest([]byte(`{"model":"builtin:tiny","dataset":"builtin:sample","name":"my-adapter","max_steps":7,"target_modules":["q_proj","v_proj"]}`))
	if len(problems) > 0 {
		t.Fatal(Problems(problems).Error())
	}
	want := DefaultTraining()
	want.MaxSteps = 7
	want.TargetModules = TargetModules{"q_proj", "v_proj"}
	if got, _ := json.Marshal(r.Training); string(got) != string(must(json.Marshal(want))) {
		t.Errorf("training = %s", got)
	}
}

func TestParseRequestRefuses(t *testing.T) {
	t.Parallel()
	const ok = `"model":"m","dataset":"d"`
	big := `"` + strings.Repeat("x", MaxInlineBytes) + `"`
	tests := map[string]struct {
		request string
		want    []string // parts of the problems, in order
	}{
		"nothing":           {``, []string{"empty"}},
		"not json":          {`hello`, []string{"not valid JSON"}},
		"a list":            {`[]`, []string{"not a JSON object"}},
		"cut off":           {`{"model":"m"`, []string{"ends in the middle"}},
		"text after":        {`{` + ok + `} x`, []string{"more text"}},
		"bad utf-8":         {"{\"model\":\"\xff\"}", []string{"UTF-8"}},
		"empty object":      {`{}`, []string{"model: is missing", "dataset: is missing"}},
		"slip":              {`{` + ok + `,"max_step":3}`, []string{`max_step: is not a field of this request; did you mean "max_steps"?`}},
		"other case":        {`{"Model":"m","dataset":"d"}`, []string{`Model: is not a field of this request; did you mean "model"?`, "model: is missing"}},
		"unknown":           {`{` + ok + `,"colour":3}`, []string{"colour: is not a field of this request; remove it; the fields are adam_beta1"}},
		"twice":             {`{` + ok + `,"r":3,"r":4}`, []string{"r: is given twice"}},
		"null":              {`{` + ok + `,"r":null}`, []string{"r: is null"}},
		"null in metadata":  {`{` + ok + `,"metadata":{"a":null}}`, []string{"metadata: a is null"}},
		"wrong type":        {`{` + ok + `,"max_steps":"50"}`, []string{`max_steps: must be a whole number (found "50")`}},
		"fraction":          {`{` + ok + `,"max_steps":1.5}`, []string{"max_steps: must be a whole number"}},
		"full in bf16":      {`{"model":"m","dataset":"d","method":"full","dtype":"bf16"}`, []string{"dtype: is for weights that are not trained"}},
		"all at once":       {`{"model":"m","r":0,"learning_rate":-1,"dtype":"f8","name":"Ärger"}`, []string{"dataset: is missing", "name: is not a valid name", "r: is out of range", "learning_rate: is out of range", "dtype: is not a known value"}},
		"head":              {`{` + ok + `,"target_modules":["lm_head"]}`, []string{"target_modules: an adapter on the head"}},
		"both data":         {`{` + ok + `,"rows":[{"instruction":"a","output":"b"}]}`, []string{"rows: stand beside dataset"}},
		"rows too big":      {`{"model":"m","rows":[` + big + `]}`, []string{"datasets push"}},
		"steps and epochs":  {`{` + ok + `,"max_steps":3,"num_train_epochs":2}`, []string{"num_train_epochs: max_steps is 3"}},
		"no end":            {`{` + ok + `,"max_steps":0}`, []string{"max_steps: the run has no end"}},
		"targets not words": {`{` + ok + `,"target_modules":3}`, []string{`target_modules: must be "all-linear" or a list of names`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := ParseRequest([]byte(tt.request))
			if len(problems) != len(tt.want) {
				t.Fatalf("problems:\n%s\nwant %d of them", Problems(problems).Error(), len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(problems[i].String(), want) {
					t.Errorf("problem %q does not say %q", problems[i], want)
				}
			}
		})
	}
}

func TestEpochsReplaceDefaultSteps(t *testing.T) {
	t.Parallel()
	r, problems := ParseRequest([]byte(`{"model":"m","dataset":"d","num_train_epochs":2}`))
	if len(problems) > 0 || r.MaxSteps != 0 || r.NumTrainEpochs != 2 {
		t.Errorf("max_steps %d, num_train_epochs %g, problems %v", r.MaxSteps, r.NumTrainEpochs, problems)
	}
}

func TestSameRequestIsSameJob(t *testing.T) {
	t.Parallel()
	id := func(text string) string {
		t.Helper()
		r, problems := ParseRequest([]byte(text))
		if len(problems) > 0 {
			t.Fatal(Problems(problems).Error())
		}
		return NewSpec(r, r.Dataset, "sha256:aa", nil).ID()
	}
	plain := id(`{"model":"m","dataset":"d","name":"n"}`)
	if other := id(` {"name":"n", "r":8, "dataset":"d", "learning_rate":0.0002, "model":"m"} `); other != plain {
		t.Errorf("ids differ: %s and %s", plain, other)
	}
	if other := id(`{"model":"m","dataset":"d","name":"n","r":4}`); other == plain {
		t.Errorf("another r has the same id %s", plain)
	}
	// The id names subjects of this version; a change of it is a change of SpecFormat.
	if want := "ft-"; !strings.HasPrefix(plain, want) || len(plain) != 23 {
		t.Errorf("id = %s", plain)
	}
}

func TestSpecRoundTrip(t *testing.T) {
	t.Parallel()
	r := NewRequest()
	r.Model, r.Dataset = "m", "builtin:sample"
	spec := NewSpec(r, r.Dataset, "sha256:aa", nil)
	if !ValidName(spec.Name) || !strings.HasPrefix(spec.Name, "adapter-") {
		t.Errorf("name = %q", spec.Name)
	}
	back, err := ParseSpec(spec.Canonical())
	if err != nil || back.ID() != spec.ID() {
		t.Errorf("id %s became %s, %v", spec.ID(), back.ID(), err)
	}
}

// TestParseSpecObject reads a spec back from the object of a message, in which a seed beyond 2⁵³ is a text.
func TestParseSpecObject(t *testing.T) {
	t.Parallel()
	request := NewRequest()
	request.Model, request.Name, request.Seed = "builtin:tiny", "9007199254740993", math.MaxInt64
	spec := NewSpec(request, "builtin:sample", "sha256:1", nil)
	var fields map[string]any
	if err := json.Unmarshal(spec.Canonical(), &fields); err != nil {
		t.Fatal(err)
	}
	training := fields["training"].(map[string]any)
	for _, seed := range []any{strconv.Itoa(math.MaxInt64), json.Number(strconv.Itoa(math.MaxInt64))} {
		training["seed"] = seed
		if got, err := ParseSpecObject(fields); err != nil || got.ID() != spec.ID() || training["seed"] != seed {
			t.Errorf("seed %T: %v, %v", seed, got, err)
		}
	}
	for _, seed := range []any{"", "one", "1.5", "1e3"} {
		training["seed"] = seed
		if got, err := ParseSpecObject(fields); err == nil {
			t.Errorf("seed %q is read as %d", seed, got.Training.Seed)
		}
	}
}

func TestEveryStateCanEnd(t *testing.T) {
	t.Parallel()
	for _, from := range States() {
		reached := map[State]bool{}
		todo := []State{from}
		for len(todo) > 0 {
			state := todo[0]
			todo = todo[1:]
			for _, to := range transitions[state] {
				if !reached[to] {
					reached[to] = true
					todo = append(todo, to)
				}
			}
		}
		if !from.Final() && !reached[StateFailed] {
			t.Errorf("%s cannot reach failed", from)
		}
		if from.CanGo(from) {
			t.Errorf("%s goes to itself", from)
		}
	}
	if StateSucceeded.CanGo(StateFailed) {
		t.Error("succeeded can go to failed")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestSchedulerKwargs(t *testing.T) {
	t.Parallel()
	const start = `{"model":"m","dataset":"d","lr_scheduler_type":`
	tests := map[string]struct {
		request string
		want    []string // parts of the problems, in order
	}{
		"min_lr_rate":        {`"cosine_with_min_lr","lr_scheduler_kwargs":{"min_lr_rate":0.1}}`, nil},
		"wsd":                {`"warmup_stable_decay","lr_scheduler_kwargs":{"num_decay_steps":5,"decay_type":"1-sqrt"}}`, nil},
		"constant":           {`"constant"}`, nil},
		"no minimum":         {`"cosine_with_min_lr"}`, []string{"needs one of min_lr and min_lr_rate"}},
		"two minima":         {`"cosine_with_min_lr","lr_scheduler_kwargs":{"min_lr":0,"min_lr_rate":0.1}}`, []string{"needs one of min_lr and min_lr_rate"}},
		"minimum above peak": {`"cosine_with_min_lr","lr_scheduler_kwargs":{"min_lr":1}}`, []string{"lr_scheduler_kwargs.min_lr: is out of range"}},
		"no fall":            {`"warmup_stable_decay"}`, []string{"needs num_decay_steps"}},
		"bad shape":          {`"warmup_stable_decay","lr_scheduler_kwargs":{"num_decay_steps":5,"decay_type":"steep"}}`, []string{"lr_scheduler_kwargs.decay_type: is not a known value"}},
		"of another":         {`"linear","lr_scheduler_kwargs":{"min_lr_rate":0.1}}`, []string{"lr_scheduler_kwargs: is not a setting of linear"}},
		"slip":               {`"cosine","lr_scheduler_kwargs":{"num_cycle":1}}`, []string{`did you mean "num_cycles"?`}},
		"wrong type":         {`"cosine","lr_scheduler_kwargs":{"num_cycles":"1"}}`, []string{"num_cycles: must be a number"}},
		"constant warmup":    {`"constant","warmup_ratio":0.1}`, []string{"lr_scheduler_type: has no warmup"}},
		"full with b":        {`"cosine","method":"full","loraplus_lr_ratio":16}`, []string{"loraplus_lr_ratio: means nothing"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, problems := ParseRequest([]byte(start + tt.request))
			if len(problems) != len(tt.want) {
				t.Fatalf("problems:\n%s\nwant %d of them", Problems(problems).Error(), len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(problems[i].String(), want) {
					t.Errorf("problem %q does not say %q", problems[i], want)
				}
			}
		})
	}
}

func TestSchedulerKwargsText(t *testing.T) {
	t.Parallel()
	const want = `{"num_decay_steps":20,"decay_type":"1-sqrt","min_lr_ratio":0.1}`
	for _, text := range []string{"num_decay_steps=20, decay_type=1-sqrt,min_lr_ratio=0.1", want} {
		var k SchedulerKwargs
		if err := k.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got := string(must(json.Marshal(k))); got != want {
			t.Errorf("%q became %s", text, got)
		}
		var back SchedulerKwargs
		if err := back.UnmarshalText([]byte(k.String())); err != nil || back.String() != k.String() {
			t.Errorf("%q became %q, %v", k.String(), back.String(), err)
		}
	}
	for _, text := range []string{"min_lr", "min_lr_rates=1", "num_decay_steps=many"} {
		if err := new(SchedulerKwargs).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestEvaluationRefuses(t *testing.T) {
	t.Parallel()
	for request, want := range map[string][]string{
		`"val_size":0.1,"eval_steps":10,"early_stopping_patience":3,"load_best_model_at_end":true`: nil,
		`"eval_dataset":"e"`:                               nil,
		`"eval_dataset":"e","val_size":0.1`:                {"val_size: stands beside eval_dataset"},
		`"eval_steps":10`:                                  {"eval_steps: there are no rows for evaluation"},
		`"val_size":2.5`:                                   {"val_size: is neither a share nor a whole number"},
		`"val_size":0.1,"early_stopping_patience":3`:       {"early_stopping_patience: needs evaluations"},
		`"val_size":0.1,"load_best_model_at_end":true`:     {"load_best_model_at_end: needs evaluations"},
		`"val_size":0.1,"early_stopping_threshold":0.1`:    {"early_stopping_threshold: has no effect alone"},
		`"per_device_eval_batch_size":2`:                   {"per_device_eval_batch_size: there are no rows"},
		`"val_size":-1,"eval_steps":-1,"eval_dataset":"e"`: {"val_size: is out of range", "eval_steps: is out of range"},
	} {
		_, problems := ParseRequest([]byte(`{"model":"m","dataset":"d",` + request + `}`))
		if len(problems) != len(want) {
			t.Errorf("%s: problems:\n%s\nwant %d of them", request, Problems(problems).Error(), len(want))
			continue
		}
		for i, text := range want {
			if !strings.Contains(problems[i].String(), text) {
				t.Errorf("%s: problem %q does not say %q", request, problems[i], text)
			}
		}
	}
}
