package job

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

func TestLoraOptionsRefused(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		`"rank_pattern":{"q_proj":0}`:                                  "rank_pattern: is not a rank",
		`"rank_pattern":{"q_proj":2.5}`:                                "rank_pattern: is not a rank",
		`"rank_pattern":{"q_proj":4,"q_proj":5}`:                       `rank_pattern: key "q_proj" is given twice`,
		`"rank_pattern":{"q_proj":null}`:                               `the value of "q_proj" must be a number`,
		`"rank_pattern":[4]`:                                           "must be an object of numbers",
		`"rank_pattern":{"(?=q)":4}`:                                   `rank_pattern: the group "(?=q" cannot be used`,
		`"alpha_pattern":{"q_proj":-1}`:                                "alpha_pattern: is out of range",
		`"layers_to_transform":[-1]`:                                   "count layers from 0",
		`"layers_to_transform":"all"`:                                  "must be the number of a layer",
		`"layers_to_transform":[0],"target_modules":".*\\.(q|v)_proj"`: "PEFT refuses it, too",
		`"target_modules":".*"`:                                        "matches the head or the embedding",
		`"target_modules":["q_proj","(k|v)_proj"]`:                     "give a regular expression as a string",
		`"target_modules":["self_attn"]`:                               "is not a linear layer",
		`"target_modules":["model.embed_tokens"]`:                      "on the head or the embedding",
		`"init_lora_weights":false`:                                    "a random B",
		`"init_lora_weights":"pissa"`:                                  "is not a known value",
		`"init_lora_weights":3`:                                        `must be true or "gaussian"`,
		`"init_from":"Me@3"`:                                           "is not an adapter",
		`"init_from":"me","init_lora_weights":"gaussian"`:              "has no effect beside init_from",
		`"init_from":"me","method":"full"`:                             "init_from: has no effect with method full",
		`"rank_pattern":{"q_proj":4},"method":"full"`:                  "rank_pattern: has no effect with method full",
		`"modules_to_save":["lm_head"]`:                                "modules_to_save: trains whole copies of modules",
		`"use_dora":true`:                                              "use_dora: changes the arithmetic",
	} {
		_, problems := ParseRequest([]byte(`{"model":"m","dataset":"d",` + options + `}`))
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v, expected %q", options, Problems(problems).Error(), want)
		}
	}
}

// TestLoraOptionsForms reads every form of an option and expects one canonical text.
func TestLoraOptionsForms(t *testing.T) {
	t.Parallel()
	request, problems := ParseRequest([]byte(`{"model":"m","dataset":"d","rank_pattern":{"v_proj":4,"down_proj":2},
		"alpha_pattern":{"layers\\.(0|1)\\..*":3.5},"layers_to_transform":1,"init_lora_weights":"gaussian","init_from":"",
		"target_modules":["mlp.down_proj","v_proj"]}`))
	if len(problems) > 0 {
		t.Fatal(Problems(problems).Error())
	}
	text := string(must(json.Marshal(request.Training)))
	for _, want := range []string{
		`"rank_pattern":{"down_proj":2,"v_proj":4}`, `"alpha_pattern":{"layers\\.(0|1)\\..*":3.5}`, `"layers_to_transform":[1]`,
		`"init_lora_weights":"gaussian"`, `"target_modules":["mlp.down_proj","v_proj"]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
	if plain := string(must(json.Marshal(DefaultTraining()))); !strings.Contains(plain,
		`"rank_pattern":{},"alpha_pattern":{},"layers_to_transform":[],"init_lora_weights":true,"init_from":""`) {
		t.Errorf("defaults are %s", plain)
	}

	var flag Training
	for text, value := range map[string]interface{ UnmarshalText([]byte) error }{
		"v_proj=4, down_proj=2": &flag.RankPattern, `{"layers\\.(0|1)\\..*": 3.5}`: &flag.AlphaPattern, " 1 ": &flag.LayersToTransform,
		"mlp.down_proj,v_proj": &flag.TargetModules,
	} {
		if err := value.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	if got, want := flag.RankPattern.String(), request.RankPattern.String(); got != want {
		t.Errorf("rank_pattern of a flag is %s, of JSON %s", got, want)
	}
	if got, want := flag.AlphaPattern.String(), request.AlphaPattern.String(); got != want {
		t.Errorf("alpha_pattern of a flag is %s, of JSON %s", got, want)
	}
	if len(flag.LayersToTransform) != 1 || flag.TargetModules.String() != request.TargetModules.String() {
		t.Errorf("flags give %v and %v", flag.LayersToTransform, flag.TargetModules)
	}
	if err := flag.RankPattern.UnmarshalText([]byte("q_proj")); err == nil {
		t.Error("a pattern without a value was accepted")
	}
}

func TestTargetPattern(t *testing.T) {
	t.Parallel()
	var m TargetModules
	if err := json.Unmarshal([]byte(`".*\\.[01]\\.self_attn\\.(q|k){1,1}_proj"`), &m); err != nil {
		t.Fatal(err)
	}
	pattern, ok := m.Pattern()
	if !ok || pattern != `.*\.[01]\.self_attn\.(q|k){1,1}_proj` {
		t.Errorf("pattern %q, %v", pattern, ok)
	}
	if text := string(must(json.Marshal(m))); text != `".*\\.[01]\\.self_attn\\.(q|k){1,1}_proj"` {
		t.Errorf("written as %s", text)
	}
	if _, ok := (TargetModules{"q_proj"}).Pattern(); ok {
		t.Error("a name was taken for an expression")
	}
}

// TestPythonRegexp: what Python's re and Go's regexp read alike is matched against whole names, the rest is refused.
func TestPythonRegexp(t *testing.T) {
	t.Parallel()
	const name = "model.layers.12.self_attn.q_proj"
	for pattern, want := range map[string]bool{
		`.*q_proj`: true, `q_proj`: false, `.*\.(?:q|k)_proj`: true, `model\.layers\.(?P<n>\d+)\.self_attn\.\w+`: true,
		`.*\.[0-9]{1,2}\.self_attn\.[^]k]_proj`: true, `(?i).*Q_PROJ`: true, `.*\.1\..*`: false, `.*self_attn|.*mlp`: false, `.*\x71_proj$`: true,
	} {
		re, err := PythonRegexp(pattern)
		if err != nil || re.MatchString(name) != want {
			t.Errorf("%s: %v, expected %v", pattern, err, want)
		}
	}
	for pattern, want := range map[string]string{
		`(?=a).*`: "look-around", `(?!a).*`: "look-around", `(?<=a)b`: "look-around", `(?<n>a)`: "(?P<name>", `a(?i)b`: "at the beginning",
		`(a)\1`: "back-reference", `(?>a)`: "cannot be used", `a++`: "possessive", `.*\Z`: `\Z`, `a{,3}`: "{0,n}", `[[:alpha:]]+`: "list the characters",
		`\pL`: `\p`, `\Qa.b\E`: `\Q`, `a\z`: `\z`, `(?#no)a`: "comments", `(a`: "missing closing", `a\`: "at the end", `\x{41}`: "two hexadecimal", `[\b]`: `\b`,
	} {
		if _, err := PythonRegexp(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", pattern, err, want)
		}
	}
	// The refused forms that Go itself would take are those that matter.
	for _, pattern := range []string{`a{,3}`, `[[:alpha:]]+`, `\pL`, `\Qa.b\E`, `a(?i)b`, `(?<n>a)`, `a\z`} {
		if _, err := regexp.Compile(pattern); err != nil {
			t.Errorf("%s does not need a check of its own: %v", pattern, err)
		}
	}
}
