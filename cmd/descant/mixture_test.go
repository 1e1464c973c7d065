package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// TestDatasetOptionsJob sends jobs whose options change what is in the shards. It is not parallel: see TestBadInputJob.
func TestDatasetOptionsJob(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	put := func(data string) string {
		t.Helper()
		digest, err := s.objects.PutContent(t.Context(), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	send := func(options string) *pb.Job {
		t.Helper()
		view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`",`+options+`}`), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return waitTokenized(t, s.bus, view)
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "{\"q\":\"%d?\",\"a\":\"%d.\"}\n", i, i)
	}
	first, second := put(many.String()), put("q,a\nWho?,Me.\n")
	const columns = `,"columns":{"instruction":"q","output":"a"}`

	mixture := func(seed int) []int64 {
		t.Helper()
		done := send(fmt.Sprintf(`"datasets":[{"name":%q,"weight":0.3},{"name":%q,"weight":2}],"seed":%d`, first, second, seed) + columns)
		if done.GetState() != string(job.StateQueued) {
			t.Fatalf("state %s: %v", done.GetState(), done.GetError())
		}
		shards := openShards(t, s, done)
		var rows []int64
		for i := range shards.Len() {
			rows = append(rows, int64(shards.Index(i)))
			if want := shards.Index(i) / 100; shards.Part(i) != want { // the first dataset has 100 rows
				t.Errorf("row %d is of dataset %d, want %d", shards.Index(i), shards.Part(i), want)
			}
		}
		n := len(rows)
		if n != int(done.GetArtifacts().GetRows()) || n < 15 || n > 50 || !slices.Equal(rows[n-2:], []int64{100, 100}) || !slices.IsSorted(rows) {
			t.Errorf("rows %v, the job says %d", rows, done.GetArtifacts().GetRows())
		}
		if want := "rows are not trained, as the weight of the dataset is below 1"; !strings.Contains(strings.Join(done.GetWarnings(), "\n"), want) {
			t.Errorf("warnings %q", done.GetWarnings())
		}
		return rows
	}
	one := mixture(1)
	if other := mixture(2); slices.Equal(one, other) {
		t.Error("another seed chooses the same rows")
	}

	last := func(options string) []int32 {
		t.Helper()
		done := send(fmt.Sprintf(`"dataset":%q`, put(`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`)) + options)
		if done.GetState() != string(job.StateQueued) {
			t.Fatalf("state %s: %v", done.GetState(), done.GetError())
		}
		_, labels := openShards(t, s, done).Row(0)
		return labels
	}
	trained := func(labels []int32) (n int) {
		for _, label := range labels {
			if label != dataset.IgnoreLabel {
				n++
			}
		}
		return n
	}
	plain, turn, system := last(`,"loss_on":"completion"`), last(`,"loss_on":"last_turn"`), last(`,"default_system":"Be kind."`)
	if trained(plain) != 2*trained(turn) || len(system) <= len(plain) {
		t.Errorf("labels of completion %v, of last_turn %v, with a system text %v", plain, turn, system)
	}
	for options, want := range map[string]string{
		`"dataset":"` + first + `"`: `"instruction"`,
		`"dataset":"` + first + `"` + columns + `,"max_length":8,"truncation_mode":"error"`:                       "more than max_length 8",
		`"datasets":["` + first + `","` + put("{}\n") + `"]`:                                                      "sha256:",
		`"datasets":[{"name":"` + second + `","weight":0.0001},"` + first + `"]` + columns:                        "chooses none of 1 rows",
		`"dataset":"` + first + `"` + columns + `,"max_length":8,"truncation_mode":"drop","loss_on":"completion"`: "longer than max_length 8",
	} {
		done := send(options)
		if done.GetState() != string(job.StateFailed) || !strings.Contains(problemText(done.GetError()), want) {
			t.Errorf("%s: state %s, error %v, want %q", options, done.GetState(), done.GetError(), want)
		}
	}
}

func openShards(t *testing.T, s *system, j *pb.Job) *dataset.Shards {
	t.Helper()
	prefix := j.GetArtifacts().GetTokenizedKey()
	folder, err := stage.GetFolder(t.Context(), s.objects, prefix)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	for _, file := range folder.Files {
		path := filepath.Join(dir, file.Name)
		if err := s.objects.GetFile(t.Context(), prefix+"/"+file.Name, path, file.Digest); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	shards, err := dataset.OpenShards(paths)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

func problemText(e *pb.Error) string {
	text := e.GetMessage()
	for _, p := range e.GetProblems() {
		text += "\n" + p.GetField() + ": " + p.GetMessage()
	}
	return text
}
