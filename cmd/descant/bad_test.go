package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/dataset/datasettest"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// badCase is a case of nasty input; pkg/dataset tests the same files by its reader.
type badCase struct{ datasettest.BadCase }

func loadBad(t *testing.T) (dir string, cases []badCase) {
	t.Helper()
	dir, all := datasettest.BadCases(t, filepath.Join(packageDir, "..", "..", "pkg", "dataset", "testdata", "bad"))
	for _, c := range all {
		cases = append(cases, badCase{c})
	}
	return dir, cases
}

// badModel is the base that the rows are tokenised for: it needs no network.
const badModel = "builtin:tiny"

// TestBadInputValidate holds what `descant validate` says about every file.
func TestBadInputValidate(t *testing.T) {
	t.Parallel()
	dir, cases := loadBad(t)
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			t.Parallel()
			args := []string{"validate", filepath.Join(dir, c.File), "--model", badModel, "--loss-on", "completion", "--max-length", "256"}
			code, out, problems := cli(t, nil, append(args, "--json")...)
			if want := map[string]int{datasettest.Accept: exitOK, datasettest.Reject: exitFailed}; c.Outcome != datasettest.Either && code != want[c.Outcome] {
				t.Fatalf("exit code %d for %s: %s%s", code, c.Outcome, out, problems)
			}
			if code == exitOK {
				c.checkAccepted(t, out)
				return
			}
			var refusal struct {
				Error struct {
					Class, Code string
					Dataset     dataset.ValidationError
				}
			}
			if err := json.Unmarshal([]byte(out), &refusal); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			bad := refusal.Error.Dataset
			if refusal.Error.Class != string(job.User) || refusal.Error.Code != string(job.CodeBadDataset) || bad.File != c.File {
				t.Errorf("error %s", out)
			}
			c.checkProblems(t, bad.Lines.Has, fields(bad.Problems))
			if c.Rows != nil && c.Outcome == datasettest.Reject && bad.GoodRows != *c.Rows {
				t.Errorf("%d good rows, want %d", bad.GoodRows, *c.Rows)
			}
			if lines := strings.Count(problems, "\n"); !strings.Contains(problems, c.File) || lines > 25 || strings.Contains(problems, "goroutine ") {
				t.Errorf("%d lines of problems:\n%s", lines, problems)
			}
		})
	}
}

func fields(problems []dataset.Problem) (names []string) {
	for _, p := range problems {
		names = append(names, p.Field)
	}
	return names
}

// checkAccepted holds that every row is trained, or named with its line.
func (c badCase) checkAccepted(t *testing.T, out string) {
	t.Helper()
	var survey dataset.Survey
	if err := json.Unmarshal([]byte(out), &survey); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if c.Rows != nil && survey.Report.Rows != *c.Rows {
		t.Errorf("%d rows, want %d", survey.Report.Rows, *c.Rows)
	}
	tokens := survey.Tokens
	if int(tokens.Rows)+tokens.LeftOut.Count != survey.Report.Rows {
		t.Errorf("%d rows are trained and %d left out of %d", tokens.Rows, tokens.LeftOut.Count, survey.Report.Rows)
	}
	// Lines that an accepted file has to name are rows that are cut or left out. What a file of either kind names may
	// also be used as it is.
	named := func(line int) bool {
		return tokens.LeftOut.Lines.Has(line) || tokens.Truncated.Lines.Has(line) || survey.Report.LeftOut.Lines.Has(line)
	}
	left := survey.Report.LeftOut.Count > 0
	for _, line := range c.Lines {
		if (c.Outcome == datasettest.Accept || left) && !named(line) {
			t.Errorf("line %d is not named in %s", line, out)
		}
	}
}

// checkProblems holds that a refusal names all bad lines, no other, and every field.
func (c badCase) checkProblems(t *testing.T, named func(line int) bool, fields []string) {
	t.Helper()
	for line := 1; line <= 600 && len(c.Lines) > 0; line++ {
		if want := slices.Contains(c.Lines, line); named(line) != want {
			t.Errorf("line %d is named: %v, want %v", line, !want, want)
		}
	}
	for _, field := range c.Fields {
		if !slices.Contains(fields, field) {
			t.Errorf("field %s is not among %q", field, fields)
		}
	}
}

// TestBadInputJob sends every file as a job, past the checks of the command line, to a gateway and a tokenizer. A file
// that is accepted gets to the queue of the trainers, another fails with every line and field.
//
// It is not parallel, as the embedded object store changes the working folder: that is put back at the end.
func TestBadInputJob(t *testing.T) {
	dir, cases := loadBad(t)
	t.Chdir(".")
	s := startPipeline(t)
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			digest, _, err := s.objects.PutContentFile(t.Context(), filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			request := fmt.Sprintf(`{"model":%q,"dataset":%q,"loss_on":"completion","max_length":256}`, badModel, digest)
			view, err := submit(t.Context(), s.bus, []byte(request), time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			ended := waitTokenized(t, s.bus, view)
			failed := ended.GetState() == string(job.StateFailed)
			if c.Outcome == datasettest.Accept && failed || c.Outcome == datasettest.Reject && !failed {
				t.Fatalf("the job is %s (%v), want %s", ended.GetState(), ended.GetError(), c.Outcome)
			}
			if failed {
				c.checkFailed(t, ended.GetError())
				return
			}
			rows := int(ended.GetArtifacts().GetRows())
			// Good rows are trained, or named as too long to be.
			named := 0
			for _, warning := range ended.GetWarnings() {
				if strings.Contains(warning, "rows were left out, nothing in them can be trained") {
					if _, err := fmt.Sscan(warning, &named); err != nil {
						t.Error(err)
					}
				}
			}
			if c.Rows != nil && rows+named != *c.Rows {
				t.Errorf("%d rows are trained and %d left out, the file has %d; warnings %q", rows, named, *c.Rows, ended.GetWarnings())
			}
			if c.Outcome == datasettest.Accept {
				for _, line := range c.Lines {
					if !strings.Contains(strings.Join(ended.GetWarnings(), "\n"), fmt.Sprintf("lines %d", line)) {
						t.Errorf("line %d is not named in %q", line, ended.GetWarnings())
					}
				}
			}
		})
	}
}

func (c badCase) checkFailed(t *testing.T, e *pb.Error) {
	t.Helper()
	if e.GetClass() != string(job.User) || e.GetCode() != string(job.CodeBadDataset) || e.GetNextStep() == "" || e.GetTrace() != "" {
		t.Errorf("error %v", e)
	}
	var lines dataset.Lines
	var names []string
	for _, p := range e.GetProblems() {
		names = append(names, p.GetField())
		if n := int(p.GetLine()); n > 0 {
			lines = append(lines, dataset.Range{From: n, To: n})
		}
		if _, rest, ok := strings.Cut(p.GetMessage(), "the bad rows are on lines "); ok {
			var r dataset.Range
			if _, err := fmt.Sscanf(rest, "%d-%d", &r.From, &r.To); err == nil {
				lines = append(lines, r)
			}
		}
	}
	if n := len(e.GetProblems()); n == 0 || n > 25 {
		t.Errorf("%d problems are listed", n)
	}
	c.checkProblems(t, lines.Has, names)
}

// startPipeline runs the services up to the trainers' queue over embedded servers until the test ends.
func startPipeline(t *testing.T) *system {
	t.Helper()
	a := &app{streams: streams{out: t.Output(), err: t.Output()}, cfg: defaults()}
	if _, err := a.rootCommand(); err != nil {
		t.Fatal(err)
	}
	s, err := a.startPrivate(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s.log = slog.New(slog.DiscardHandler)
	services, err := s.services(kindGateway, kindTokenizer)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, nil, services) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// waitTokenized follows a job until the tokenizer is through with it.
func waitTokenized(t *testing.T, b *bus.Bus, view *pb.JobView) *pb.Job {
	t.Helper()
	id := view.GetId()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for event, err := range b.Follow(ctx, id, bus.FollowOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if event.GetEpoch() < view.GetEpoch() {
			continue // two empty files are one job, which starts anew
		}
		if state := job.State(event.GetState()); event.GetType() == bus.EventState && (state == job.StateQueued || state.Final()) {
			rec, err := b.Job(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			return rec.Job
		}
	}
	t.Fatalf("job %s did not end: %v", id, ctx.Err())
	return nil
}
