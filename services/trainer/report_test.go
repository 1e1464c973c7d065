package trainer

import (
	"slices"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/report"
	"descant/pkg/train"
)

// TestHistory replays a run that was killed after step 3 and went on from its checkpoint of step 2.
func TestHistory(t *testing.T) {
	t.Parallel()
	var history report.History
	for _, s := range []struct {
		step uint32
		loss float64
	}{{1, 4}, {2, 3}, {3, 9}, {3, 2.5}, {4, 2}} {
		remember(&history, &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: s.step, Loss: s.loss}})
		remember(&history, &pb.Event{Type: bus.EventLog, Message: "checkpoint"})
	}
	var losses []float64
	for _, p := range history.Points() {
		losses = append(losses, p.Loss)
	}
	if want := []float64{4, 3, 2.5, 2}; !slices.Equal(losses, want) {
		t.Errorf("losses %v, expected %v", losses, want)
	}
}

// labelled are rows of ids and labels.
type labelled [][2][]int32

func (l labelled) Len() int                        { return len(l) }
func (l labelled) Row(i int) (ids, labels []int32) { return l[i][0], l[i][1] }

func TestDescribe(t *testing.T) {
	t.Parallel()
	request := job.NewRequest()
	request.Model, request.Name = "builtin:tiny", "mine"
	spec := job.NewSpec(request, "builtin:sample", "sha256:1", nil)
	data := labelled{
		{{1, 2, 3, 4}, {1, 2, 3, 4}},       // three of four are trained
		{{1, 2}, {-100, 2}},                // one of two
		{{1, 2, 3, 4}, {-100, -100, 3, 4}}, // two of four
	}
	run := describe(&pb.Job{Id: "ft-1", Warnings: []string{"careful"}, Artifacts: &pb.Artifacts{Leak: &pb.Leak{EvalRows: 9, Leaked: 2}}}, spec, data, &train.Result{Steps: 7, FinalLoss: 1.25},
		&pb.AdapterManifest{BaseDigest: "sha256:2", Device: "xla", Dtype: "f32"})
	found, lineage := map[string]string{}, map[string]string{}
	for _, s := range append(run.Sections, report.Section{Facts: run.Summary}) {
		for _, f := range s.Facts {
			found[f.Name.En] = f.Value
			if s.Title.En == "lineage" {
				lineage[f.Name.En] = f.Value
			}
		}
	}
	if lineage["dtype"] != "f32" { // the settings say auto, as the request did
		t.Errorf("the dtype of the training is %q", lineage["dtype"])
	}
	for name, want := range map[string]string{
		"final loss": "1.2500", "steps": "7", "rows": "3", "tokens a row": "2 – 4 – 4 (min, median, max)", "trained tokens": "60.0 %",
		"base digest": "sha256:2", "device": "xla", "learning_rate": "0.0002", "rows for evaluation that are trained, too": "2 / 9", "method": "lora", "seed": "42",
	} {
		if found[name] != want {
			t.Errorf("%s is %q, expected %q", name, found[name], want)
		}
	}
	if run.Name != "mine" || !slices.Equal(run.Warnings, []string{"careful"}) {
		t.Errorf("name %q, warnings %q", run.Name, run.Warnings)
	}
}
