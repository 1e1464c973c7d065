package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

// TestModulesJob sends jobs whose adapter names modules that the base does not have: the tokenizer, which is the first
// to see the base, fails them with every problem and with the modules that there are. It is not parallel: see
// TestBadInputJob.
func TestModulesJob(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	for options, want := range map[string][]string{
		`"target_modules":["99.self_attn.q_proj","98.mlp.up_proj"]`: {"target_modules", "target_modules"},
		`"target_modules":".*\\.attention\\.(q|v)_proj"`:            {"target_modules"},
		`"layers_to_transform":[0,98,99]`:                           {"layers_to_transform", "layers_to_transform"},
		`"rank_pattern":{"z_proj":4},"alpha_pattern":{"y_proj":4}`:  {"rank_pattern", "alpha_pattern"},
	} {
		view, err := submit(t.Context(), s.bus, []byte(fmt.Sprintf(`{"model":%q,"dataset":%q,%s}`, badModel, dataset.SampleName, options)), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ended := waitTokenized(t, s.bus, view)
		e := ended.GetError()
		if ended.GetState() != string(job.StateFailed) || e.GetClass() != string(job.User) || e.GetCode() != string(job.CodeBadRequest) {
			t.Errorf("%s: the job is %s: %v", options, ended.GetState(), e)
		}
		if len(e.GetProblems()) != len(want) {
			t.Fatalf("%s: problems %v, want those of %q", options, e.GetProblems(), want)
		}
		for i, p := range e.GetProblems() {
			listed := strings.Contains(p.GetNextStep(), "self_attn.q_proj") && strings.Contains(p.GetNextStep(), "mlp.down_proj")
			if p.GetField() != want[i] || !listed && want[i] != "layers_to_transform" {
				t.Errorf("%s: problem %v, want one of %s with the modules that there are", options, p, want[i])
			}
		}
	}
}
