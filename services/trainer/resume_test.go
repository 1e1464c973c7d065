package trainer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// The jobs of these tests have 8 steps of 2 micro-batches and save a checkpoint every 3.
const (
	steps     = 8
	micro     = 2
	saveSteps = 3
)

// TestLongRuns breaks trainings off in every way there is and lets other processes go on: the adapter must have the very
// bytes of a training that nobody disturbed.
func TestLongRuns(t *testing.T) {
	f := newFleet(t)
	f.submit(t, "whole", nil)
	w := f.start(t, nil)
	want := f.finished(t, "whole", w)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *fleet, []byte)
	}{
		{"killed anywhere", killedAnywhere},
		{"killed after the last step", killedAfterTheLastStep},
		{"stopped in good order", stoppedInGoodOrder},
		{"paused, and resumed elsewhere", pausedAndResumed},
		{"damaged checkpoints", damagedCheckpoints},
		{"few checkpoints are kept", fewAreKept},
		{"a divergence names its rows", divergenceNamesRows},
		{"an evaluation goes on", evaluationGoesOn},
		{"memory is saved", memoryOptions},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, f, want) })
	}
}

// finished waits for the adapter of the job with a name, stops its worker and returns the bytes.
func (f *fleet) finished(t *testing.T, name string, w *worker) []byte {
	t.Helper()
	f.untilState(t, f.id(t, name), job.StateSucceeded)
	w.stop(t)
	return f.weights(t, name)
}

// killPoint is where a process is killed, and the step from which the job goes on afterwards.
type killPoint struct {
	at     string
	upload bool // at is a part of the path of an upload that is half sent
	from   int
}

// killPoints draws n points of a job in the order of its life. What a checkpoint is worth begins with its record.
func killPoints(random *rand.Rand, n int) []killPoint {
	var all []killPoint
	saved := 0
	for step := 1; step <= steps; step++ {
		for i := 1; i <= micro; i++ {
			all = append(all, killPoint{at: fmt.Sprintf("step %d micro-batch %d", step, i), from: saved})
		}
		all = append(all, killPoint{at: fmt.Sprintf("step %d updated", step), from: saved})
		if step%saveSteps != 0 {
			continue
		}
		for _, part := range []string{"adapter", "optimizer", "complete"} {
			all = append(all, killPoint{at: fmt.Sprintf("checkpoint %d %s", step, part), from: saved})
		}
		for _, file := range []string{"adapter.safetensors", "optimizer.safetensors", "state.json", "manifest.json"} {
			all = append(all, killPoint{at: fmt.Sprintf("-%08d/%s", step, file), upload: true, from: saved})
		}
		all = append(all, killPoint{at: fmt.Sprintf("checkpoint %d stored", step), from: saved})
		saved = step
		all = append(all, killPoint{at: fmt.Sprintf("checkpoint %d recorded", step), from: saved})
	}
	chosen := random.Perm(len(all))[:n]
	slices.Sort(chosen)
	points := make([]killPoint, n)
	for i, k := range chosen {
		points[i] = all[k]
	}
	return points
}

// killedAnywhere kills 24 processes, two at each job, at points drawn from all that there are; every process that comes
// after may be the one that goes on.
func killedAnywhere(t *testing.T, f *fleet, want []byte) {
	random := rand.New(rand.NewPCG(2026, 4))
	ids, points := map[string]string{}, map[string][]killPoint{}
	for i := range 12 {
		name := fmt.Sprintf("killed-%d", i)
		points[name] = killPoints(random, 2)
		t.Logf("%s: %v", name, points[name])
		// A job that was killed before has no checkpoint yet; the next attempt is its second of three.
		ids[name] = f.submit(t, name, nil)
		for _, point := range points[name] {
			f.killAt(t, ids[name], point)
		}
	}
	w := f.start(t, nil)
	for name, id := range ids {
		f.untilState(t, id, job.StateSucceeded)
		if !bytes.Equal(f.weights(t, name), want) {
			t.Errorf("%s, killed at %v, has other bytes than the training that was not stopped", name, points[name])
		}
		var got []int
		for _, text := range f.messages(t, id) {
			var from int
			if text == "training starts" {
				got = append(got, 0)
			} else if _, err := fmt.Sscanf(text, "training goes on after step %d", &from); err == nil {
				got = append(got, from)
			}
		}
		if started := []int{0, points[name][0].from, points[name][1].from}; !slices.Equal(got, started) {
			t.Errorf("%s, killed at %v, went on from the steps %v, want %v", name, points[name], got, started)
		}
		if got := slices.Compact(slices.Sorted(slices.Values(f.steps(t, id)))); !slices.Equal(got, upTo(steps)) {
			t.Errorf("%s, killed at %v: the events tell of the steps %v", name, points[name], got)
		}
	}
	w.stop(t)
}

// killAt starts a process and kills it when it is at a point of a job.
func (f *fleet) killAt(t *testing.T, id string, point killPoint) {
	t.Helper()
	if point.upload {
		held, release := f.uploads.hold(id, point.at)
		defer release()
		w := f.start(t, nil)
		select {
		case <-held:
		case err := <-w.ended:
			t.Fatalf("the trainer ended before %s: %v\n%s", point.at, err, w.printed())
		case <-time.After(late):
			t.Fatalf("the trainer does not come to %s:\n%s", point.at, w.printed())
		}
		w.kill()
		return
	}
	w := f.start(t, func(s *workerSpec) { s.Job, s.At = id, point.at })
	w.waits(t)
	w.kill()
}

// killedAfterTheLastStep leaves nothing to train: the numbers of the last step are those of the checkpoint.
func killedAfterTheLastStep(t *testing.T, f *fleet, want []byte) {
	id := f.submit(t, "last", func(training *job.Training) { training.SaveSteps = 4 })
	f.killAt(t, id, killPoint{at: "checkpoint 8 recorded"})
	if !bytes.Equal(f.finished(t, "last", f.start(t, nil)), want) {
		t.Error("the adapter has other bytes than that of the training that was not stopped")
	}
	manifest := f.manifest(t, "last")
	if made := f.job(t, id).Job.GetCheckpointInfo(); made.GetStep() != 8 || made.GetDigest() == "" || manifest.GetParentCheckpoint() != made.GetDigest() {
		t.Errorf("it went on from the checkpoint %q, the record tells of %v", manifest.GetParentCheckpoint(), made)
	}
	if device, dtype := manifest.GetDevice(), manifest.GetDtype(); device != "go" || dtype != job.DTypeF32 {
		t.Errorf("the manifest says device %q and dtype %q", device, dtype)
	}
	if from := f.manifest(t, "whole").GetParentCheckpoint(); from != "" {
		t.Errorf("a training that nobody disturbed went on from %s", from)
	}
	step := f.job(t, id).Job.GetProgress()
	if loss := manifest.GetMetrics()["final_loss"]; loss <= 0 || step.GetStep() != 8 || step.GetLoss() != loss || manifest.GetProgress().GetStep() != 8 {
		t.Errorf("the final loss is %g, the last step %v", loss, step)
	}
}

func stoppedInGoodOrder(t *testing.T, f *fleet, want []byte) {
	id := f.submit(t, "stopped", nil)
	first := f.start(t, func(s *workerSpec) { s.Job, s.At, s.Hold = id, "step 5 micro-batch 1", true })
	first.waits(t)
	first.stop(t)
	rec := f.job(t, id).Job
	if rec.GetState() != string(job.StateQueued) || rec.GetAttempts() != 0 || !strings.HasSuffix(rec.GetCheckpoint(), "-00000005") {
		t.Errorf("after SIGTERM the job is %s with %d attempts and checkpoint %q", rec.GetState(), rec.GetAttempts(), rec.GetCheckpoint())
	}
	second := f.start(t, nil)
	if !bytes.Equal(f.finished(t, "stopped", second), want) {
		t.Error("the adapter has other bytes than that of the training that was not stopped")
	}
	if rec := f.job(t, id).Job; rec.GetAttempts() != 1 {
		t.Errorf("the stop cost an attempt: %d", rec.GetAttempts())
	}
}

func pausedAndResumed(t *testing.T, f *fleet, want []byte) {
	id := f.submit(t, "paused", nil)
	first := f.start(t, func(s *workerSpec) { s.Job, s.At, s.Hold = id, "step 4 micro-batch 2", true })
	first.waits(t)
	f.person(t, id, job.StatePaused)
	f.until(t, id, "paused with a checkpoint", func(j *pb.Job) bool {
		return j.GetState() == string(job.StatePaused) && strings.HasSuffix(j.GetCheckpoint(), "-00000004")
	})
	first.kill()
	second := f.start(t, nil)
	// It takes a job that is sent later, and leaves the paused one alone.
	f.untilState(t, f.submit(t, "meanwhile", nil), job.StateSucceeded)
	if rec := f.job(t, id).Job; rec.GetState() != string(job.StatePaused) {
		t.Fatalf("a paused job became %s by itself", rec.GetState())
	}
	f.person(t, id, job.StateQueued)
	if !bytes.Equal(f.finished(t, "paused", second), want) {
		t.Error("the adapter has other bytes than that of the training that was not paused")
	}
	// The step that the pause met was finished, and is told.
	if got := f.steps(t, id); !slices.Equal(got, upTo(steps)) {
		t.Errorf("the events tell of the steps %v", got)
	}
}

func (f *fleet) id(t *testing.T, name string) string {
	t.Helper()
	all, err := f.bus.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range all {
		if rec.Job.GetName() == name {
			return rec.Job.GetId()
		}
	}
	t.Fatalf("there is no job %s", name)
	return ""
}

// damagedCheckpoints kills jobs with checkpoints of the steps 3 and 6 and damages the newer one, or both.
func damagedCheckpoints(t *testing.T, f *fleet, want []byte) {
	flip := func(file string) func(*testing.T, *fleet, string) {
		return func(t *testing.T, f *fleet, prefix string) {
			data := f.read(t, prefix+"/"+file)
			data[len(data)/2] ^= 1
			f.write(t, prefix+"/"+file, data)
		}
	}
	remove := func(file string) func(*testing.T, *fleet, string) {
		return func(t *testing.T, f *fleet, prefix string) {
			if err := f.objects.Delete(t.Context(), prefix+"/"+file); err != nil {
				t.Fatal(err)
			}
		}
	}
	damages := []struct {
		name   string
		damage func(*testing.T, *fleet, string)
		both   bool
		why    string
	}{
		{"a flipped bit", flip("optimizer.safetensors"), false, "digest"},
		{"a missing file", remove("adapter.safetensors"), false, "not found"},
		{"a missing manifest", remove("manifest.json"), false, "gone from the object store"},
		{"a manifest that is no JSON", func(t *testing.T, f *fleet, prefix string) { f.write(t, prefix+"/manifest.json", []byte("{")) }, false, "manifest"},
		{"the state of another run", otherRun, false, "other settings or data"},
		{"both damaged", flip("state.json"), true, "digest"},
	}
	ids := make([]string, len(damages))
	for i, d := range damages {
		ids[i] = f.submit(t, fmt.Sprintf("damaged-%d", i), nil)
		f.killAt(t, ids[i], killPoint{at: "step 7 micro-batch 1"})
		latest := f.job(t, ids[i]).Job.GetCheckpoint()
		d.damage(t, f, latest)
		if d.both {
			folders, err := storedCheckpoints(t.Context(), f.objects, ids[i])
			if err != nil || len(folders) != 2 {
				t.Fatalf("%d checkpoints, %v; want 2", len(folders), err)
			}
			d.damage(t, f, folders[1].prefix)
		}
	}
	w := f.start(t, nil)
	for i, d := range damages {
		f.untilState(t, ids[i], job.StateSucceeded)
		if !bytes.Equal(f.weights(t, fmt.Sprintf("damaged-%d", i)), want) {
			t.Errorf("%s: the adapter has other bytes", d.name)
		}
		told, goesOn := strings.Join(f.messages(t, ids[i]), "\n"), "training goes on after step 3"
		if d.both {
			goesOn = "no checkpoint can be used, training starts from the beginning"
		}
		warnings := strings.Join(f.job(t, ids[i]).Job.GetWarnings(), "\n")
		if !strings.Contains(told, goesOn) || !strings.Contains(warnings, "cannot be used") || !strings.Contains(warnings, d.why) {
			t.Errorf("%s: it does not say %q and %q:\n%s\nwarnings:\n%s", d.name, goesOn, d.why, told, warnings)
		}
	}
	w.stop(t)
}

// otherRun replaces state.json by that of another run, with a manifest that agrees.
func otherRun(t *testing.T, f *fleet, prefix string) {
	t.Helper()
	var state map[string]any
	if err := json.Unmarshal(f.read(t, prefix+"/state.json"), &state); err != nil {
		t.Fatal(err)
	}
	state["spec"] = "sha256:another"
	data, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := stage.GetFolder(t.Context(), f.objects, prefix)
	if err != nil {
		t.Fatal(err)
	}
	for i, file := range folder.Files {
		if file.Name == "state.json" {
			folder.Files[i] = stage.FolderFile{Name: file.Name, Digest: blob.Digest(data), Size: int64(len(data))}
		}
	}
	manifest, err := json.Marshal(folder)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, prefix+"/state.json", data)
	f.write(t, prefix+"/manifest.json", manifest)
}

func fewAreKept(t *testing.T, f *fleet, _ []byte) {
	for limit, want := range map[int][]string{0: {"00000005", "00000006"}, 1: {"00000006"}, 3: {"00000004", "00000005", "00000006"}} {
		id := f.submit(t, fmt.Sprintf("kept-%d", limit), func(training *job.Training) { training.SaveSteps, training.SaveTotalLimit = 1, limit })
		// What an upload that was broken off has left does not count, and goes.
		torn := "checkpoints/" + id + "/00000001-00000009/adapter.safetensors"
		f.write(t, torn, []byte("half"))
		f.killAt(t, id, killPoint{at: "step 7 micro-batch 1"})
		objects, err := f.objects.List(t.Context(), "checkpoints/"+id+"/")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, object := range objects {
			if strings.HasSuffix(object.Key, "/manifest.json") {
				prefix := strings.TrimSuffix(object.Key, "/manifest.json")
				got = append(got, prefix[len(prefix)-8:])
			}
			if object.Key == torn {
				t.Errorf("%s is still there", torn)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("save_total_limit %d keeps the steps %v, want %v", limit, got, want)
		}
	}
}

func divergenceNamesRows(t *testing.T, f *fleet, _ []byte) {
	id := f.submit(t, "diverged", func(training *job.Training) {
		// Every step multiplies the weights by -99.
		training.LearningRate, training.WeightDecay, training.WarmupRatio = 10, 10, 0
		training.MaxSteps, training.SaveSteps, training.LRSchedulerType = 60, 1, job.SchedulerConstant
	})
	w := f.start(t, nil)
	rec := f.untilState(t, id, job.StateFailed)
	w.stop(t)
	failure := rec.GetError()
	step := rec.GetProgress().GetStep() + 1
	if failure.GetClass() != "user" || failure.GetCode() != string(job.CodeNonFinite) || !strings.Contains(failure.GetMessage(), fmt.Sprintf("of step %d is", step)) {
		t.Errorf("the job failed after step %d with %v", step-1, failure)
	}
	if n := len(failure.GetProblems()); n != 2 && n != 4 {
		t.Fatalf("%d rows are named, a micro-batch has 2, a step 4: %v", n, failure)
	}
	for _, p := range failure.GetProblems() {
		var row int
		// Every second line of the file is blank.
		if _, err := fmt.Sscanf(p.GetField(), "row %d", &row); err != nil || int(p.GetLine()) != 2*row+1 || row > 11 {
			t.Errorf("problem %v", p)
		}
		if !strings.Contains(failure.GetMessage(), strconv.Itoa(row)) || !strings.Contains(failure.GetMessage(), "of dataset rows, counted from 0") {
			t.Errorf("the message does not name row %d: %s", row, failure.GetMessage())
		}
	}
	if prefix := rec.GetCheckpoint(); !strings.HasSuffix(prefix, fmt.Sprintf("-%08d", step-1)) || !strings.Contains(failure.GetNextStep(), strings.TrimPrefix(prefix, "checkpoints/")) {
		t.Errorf("the last good checkpoint is %q, the error says %q", prefix, failure.GetNextStep())
	} else if folder, err := stage.GetFolder(t.Context(), f.objects, prefix); err != nil || len(folder.Files) != 3 {
		t.Errorf("checkpoint %s: %v, %v", prefix, folder, err)
	}
}

func (f *fleet) read(t *testing.T, key string) []byte {
	t.Helper()
	data, err := f.objects.Read(t.Context(), key, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f *fleet) write(t *testing.T, key string, data []byte) {
	t.Helper()
	if err := f.objects.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}
