package trainer

import (
	"math"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/train"
)

// TestRowsOfDatasets names the rows of a batch with the file of each, where there are several.
func TestRowsOfDatasets(t *testing.T) {
	t.Parallel()
	one := job.Spec{Dataset: "sha256:ab", DatasetDigest: "sha256:ab"}
	several := job.Spec{Dataset: "…", Datasets: []job.SpecDataset{{Name: "sha256:ab/first.jsonl", Dataset: "sha256:ab"}, {Name: "support", Dataset: "sha256:cd"}}}
	places := []train.Place{{Row: 3, Line: 4}, {Row: 12, Line: 2, Part: 1}, {Row: 5, Part: -1}}
	for _, c := range []struct {
		spec job.Spec
		rows []train.Place
		want string
	}{
		{one, places, "rows 3, 12, 5"},
		{several, places, "rows 3 of first.jsonl, 12 of support, 5"},
		{several, places[1:2], "row 12 of support"},
	} {
		if got := rowList(c.spec, c.rows); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	if got := counted(several); !strings.Contains(got, "the datasets first.jsonl, support,") {
		t.Errorf("what the numbers mean: %q", got)
	}
}

// TestEvaluationDiverges: an evaluation that is not finite names no rows of a batch.
func TestEvaluationDiverges(t *testing.T) {
	t.Parallel()
	for step, want := range map[int][2]string{
		0: {"the base itself cannot be evaluated: its evaluation loss is NaN", "rows for evaluation"},
		4: {"training diverged: the evaluation loss after step 4 is NaN", "the last good checkpoint is kept: ft-1/3"},
	} {
		found := &train.NotFiniteError{Step: step, What: "evaluation loss", Value: math.NaN()}
		e := job.AsError("", divergence(job.Spec{}, "checkpoints/ft-1/3", found))
		if e.Message != want[0] || !strings.Contains(e.Next, want[1]) || len(e.Problems) > 0 || e.Code != job.CodeNonFinite {
			t.Errorf("step %d: %v", step, e)
		}
		if text := found.Error(); strings.Contains(text, "[]") {
			t.Errorf("step %d: %s", step, text)
		}
	}
}
