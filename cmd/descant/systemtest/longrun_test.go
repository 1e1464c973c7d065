package systemtest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"descant/pkg/pb"
)

// trained are the files of an adapter that the training decides.
var trained = []string{"adapter_config.json", "adapter_model.safetensors"}

// TestBrokenTrainGoesOn breaks `descant train` off in all the ways there are and repeats the command: the adapter has the
// bytes of one that was left alone.
func TestBrokenTrainGoesOn(t *testing.T) {
	t.Parallel()
	env, base, rows := small(t), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "rows.jsonl")
	TinyBase(t, base)
	if err := os.WriteFile(rows, []byte(strings.Repeat(`{"instruction":"你好","output":"hello"}`+"\n", 9)), 0o644); err != nil {
		t.Fatal(err)
	}
	args := func(out string) []string {
		return []string{"train", "--model", base, "--dataset", rows, "--output-dir", out, "--max-steps", "50", "--save-steps", "5",
			"--lora-dropout", "0.1", "--max-length", "32", "--learning-rate", "0.01"}
	}
	whole, broken := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out")
	ok(t, env, args(whole)...)
	for i, stop := range []struct {
		after  string
		signal syscall.Signal
	}{
		{"step 2/50", syscall.SIGKILL}, // before the first checkpoint
		{"step 7/50", syscall.SIGKILL},
		{"training goes on after step", syscall.SIGTERM},
		{"training goes on after step", syscall.SIGINT},
	} {
		p := Launch(t, Command{Name: "descant train", Args: args(broken), Env: env})
		waitFor(t, p, stop.after)
		if err := p.cmd.Process.Signal(stop.signal); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(t); err == nil {
			t.Fatalf("the training ended before %s reached it:\n%s", stop.signal, p.Output())
		}
		if stop.signal != syscall.SIGKILL && (!strings.Contains(p.Output(), "a checkpoint is saved in "+broken) || strings.Contains(p.Output(), "after step 0 of")) {
			t.Errorf("after %s it does not tell what is saved:\n%s", stop.signal, p.Output())
		}
		if goesOn := strings.Contains(p.Output(), "training goes on after step"); goesOn != (i > 1) {
			t.Errorf("start %d goes on from a checkpoint: %t\n%s", i+1, goesOn, p.Output())
		}
	}
	if last := ok(t, env, args(broken)...); !strings.Contains(last.errors, "training goes on after step") {
		t.Errorf("the last start began anew:\n%s", last.errors)
	}
	for _, name := range trained {
		a, err := os.ReadFile(filepath.Join(whole, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(broken, name))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs from that of the training that was left alone (%v)", name, err)
		}
	}
}

// TestPauseOutlivesARestart pauses a job by the command, restarts the system, and resumes it.
func TestPauseOutlivesARestart(t *testing.T) {
	t.Parallel()
	s := OneProcess(t)
	env := s.Env()
	id := strings.TrimSpace(ok(t, env, "finetune", "--model", s.Base, "--dataset", "builtin:sample", "--name", "paused", "--max-steps", "1000000",
		"--max-length", "16", "--gradient-accumulation-steps", "1", "--learning-rate", "0.0001", "--detach").out)
	seen := s.Events(t, id, 0, func(e *pb.Event) bool { return e.GetStep() != nil })
	next := seen[len(seen)-1].GetSeq() + 1
	var view struct{ State string }
	if err := json.Unmarshal([]byte(ok(t, env, "jobs", "pause", id, "--reason", "the machine is needed", "--json").out), &view); err != nil || view.State != "paused" {
		t.Fatalf("jobs pause answers %+v, %v", view, err)
	}
	paused := false
	seen = s.Events(t, id, next, func(e *pb.Event) bool {
		paused = paused || e.GetMessage() == "paused on request: the machine is needed"
		return paused && strings.HasPrefix(e.GetMessage(), "checkpoint at step")
	})
	if r := ok(t, env, "jobs", "pause", id[:10]); !strings.Contains(r.out, id+" is paused") {
		t.Errorf("pausing again says %q", r.out)
	}
	s.Services["gateway"].Stop(t)
	s.StartService(t, "")
	saved := strings.TrimPrefix(seen[len(seen)-1].GetMessage(), "checkpoint at step ")
	if r := ok(t, env, "jobs", "show", id); !strings.Contains(r.out, "paused") || !strings.Contains(r.out, "checkpoint   step "+saved+", ") ||
		!strings.Contains(r.out, " ago, checkpoints/"+id+"/") {
		t.Errorf("after a restart the job is\n%s", r.out)
	}
	if r := ok(t, env, "jobs", "resume", id); !strings.Contains(r.out, id+" is queued") {
		t.Errorf("jobs resume says %q", r.out)
	}
	s.Events(t, id, next, func(e *pb.Event) bool { return e.GetMessage() == "training goes on after step "+saved })
	if r := descant(t, env, "jobs", "resume", id); r.code != 1 || !strings.Contains(r.errors, "only a paused job can be resumed") {
		t.Errorf("resuming a job that trains: %d\n%s", r.code, r.errors)
	}
	ok(t, env, "jobs", "cancel", id)
	s.Events(t, id, next, func(e *pb.Event) bool { return e.GetState() == "cancelled" })
}
