package trainer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/train"
)

// evaluationGoesOn kills a worker between the checkpoint after step 3 and the evaluation after step 4: early stopping
// and the best parameters are those of a run that nobody disturbed.
func evaluationGoesOn(t *testing.T, f *fleet, without []byte) {
	settings := func(t *job.Training) {
		t.ValSize, t.EvalSteps, t.LearningRate, t.SaveSteps = 0.25, 2, 0.5, 3
		// No loss falls by so much: the run stops at the second evaluation after the first trained one, whatever it learns.
		t.EarlyStoppingPatience, t.EarlyStoppingThreshold, t.LoadBestModelAtEnd = 2, 100, true
		t.NEFTuneAlpha, t.LoraPlusLRRatio, t.LRSchedulerType = 5, 4, job.SchedulerConstantWithWarmup
	}
	whole := f.submit(t, "eval-whole", settings)
	want := f.finished(t, "eval-whole", f.start(t, nil))
	if bytes.Equal(want, without) {
		t.Error("the settings change nothing")
	}
	id := f.submit(t, "eval-killed", settings)
	first := f.start(t, func(w *workerSpec) { w.Job, w.At = id, "step 4 updated" })
	first.waits(t)
	first.kill()
	if got := f.finished(t, "eval-killed", f.start(t, nil)); !bytes.Equal(got, want) {
		t.Error("the adapter is not that of a run without a stop")
	}
	all := f.evaluations(t, whole)
	if len(all) < 3 || all[0].GetStep() != 0 || !slices.ContainsFunc(all, (*pb.Evaluation).GetStop) {
		t.Fatalf("evaluations %v", all)
	}
	// Those before the checkpoint were stored before it was recorded.
	if killed := f.evaluations(t, id); !slices.EqualFunc(all, killed, sameEvaluation) {
		t.Errorf("evaluations of the whole run %v\nof the other %v", all, killed)
	}
	done := f.job(t, id).Job
	if e := done.GetEvaluation(); e.GetLoss() != e.GetBestLoss() || e.GetStep() != e.GetBestStep() || e.GetRows() != 3 {
		t.Errorf("the record has %v", e)
	}
	found, err := f.registry.Resolve(t.Context(), "eval-killed")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := f.registry.Manifest(t.Context(), found.Version)
	if err != nil {
		t.Fatal(err)
	}
	if m := manifest.GetMetrics(); m["eval_loss"] != done.GetEvaluation().GetLoss() || m["eval_rows"] != 3 || m["base_eval_loss"] != all[0].GetLoss() {
		t.Errorf("the manifest has %v", m)
	}
}

// evaluations are the eval events of a job, the last of each step.
func (f *fleet) evaluations(t *testing.T, id string) (list []*pb.Evaluation) {
	t.Helper()
	for event, err := range f.bus.Follow(t.Context(), id, bus.FollowOptions{Past: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetType() == bus.EventEval {
			list = append(list, event.GetEvaluation())
		}
	}
	return list
}

// sameEvaluation compares all that does not depend on the clock.
func sameEvaluation(a, b *pb.Evaluation) bool { return *evaluationOf(a) == *evaluationOf(b) }

func evaluationOf(e *pb.Evaluation) *train.Evaluation {
	return &train.Evaluation{Step: int(e.GetStep()), Loss: e.GetLoss(), Base: e.GetBaseLoss(), Best: e.GetBestLoss(), BestStep: int(e.GetBestStep()),
		Rows: int(e.GetRows()), Tokens: int(e.GetTokens()), Worse: int(e.GetWorse()), Stop: e.GetStop()}
}

// TestEvalWarning tells of a result that is worse than the base.
func TestEvalWarning(t *testing.T) {
	t.Parallel()
	if w := evalWarning(&train.Evaluation{Step: 9, Loss: 2.5, Base: 2.25}); !strings.Contains(w, "loss 2.5000 after 9 steps, 2.2500 before") {
		t.Errorf("warning %q", w)
	}
	for _, e := range []*train.Evaluation{nil, {Loss: 2, Base: 2}, {Loss: 1, Base: 2}} {
		if w := evalWarning(e); w != "" {
			t.Errorf("%+v: warning %q", e, w)
		}
	}
}

// manyRows are rows of which every third repeats the one before.
type manyRows int

func (n manyRows) Len() int { return int(n) }

func (n manyRows) Row(i int) (ids, labels []int32) {
	ids = []int32{1, int32(i - i%3/2)}
	return ids, ids
}

// TestSplitRows holds that no row, nor a copy of one, is both trained and evaluated.
func TestSplitRows(t *testing.T) {
	t.Parallel()
	const n = 12 // of which 8 differ
	for size, want := range map[float64]int{0.1: 1, 0.25: 2, 1: 1, 5: 5} {
		rows, eval, err := splitRows(job.Training{ValSize: size, Seed: 7}, manyRows(n))
		if err != nil || len(eval) != want {
			t.Errorf("val_size %g: evaluated %v, %v, want %d", size, eval, err, want)
		}
		trained := map[int32]bool{}
		for _, i := range rows {
			ids, _ := manyRows(n).Row(i)
			trained[ids[1]] = true
		}
		for _, i := range eval {
			if ids, _ := manyRows(n).Row(i); trained[ids[1]] {
				t.Errorf("val_size %g: row %d is trained, too", size, i)
			}
		}
		if len(trained) != 8-want {
			t.Errorf("val_size %g: %d different rows are trained", size, len(trained))
		}
	}
	if _, _, err := splitRows(job.Training{ValSize: 8}, manyRows(n)); err == nil || !strings.Contains(err.Error(), "takes all 8 different rows") {
		t.Errorf("8 of 8 rows: %v", err)
	}
}
