package trainer

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/safetensors"
)

// memoryOptions trains with dtype bf16, with gradient_checkpointing and with both, packed: a job whose process was
// killed within step 5 has the bytes of one that ran through, and with gradient_checkpointing the numbers of one
// without it.
func memoryOptions(t *testing.T, f *fleet, plain []byte) {
	xla := func(s *workerSpec) { s.Kind = device.XLA }
	for _, tt := range []struct {
		name  string
		kind  func(*workerSpec)
		edit  func(*job.Training)
		dtype string
	}{
		{"bf16", xla, func(training *job.Training) { training.DType = job.DTypeBF16 }, job.DTypeBF16},
		{"checkpointing", nil, func(training *job.Training) { training.GradientCheckpointing = true }, job.DTypeF32},
		{"both", xla, func(training *job.Training) {
			training.DType, training.GradientCheckpointing, training.Packing = job.DTypeBF16, true, true
		}, job.DTypeBF16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			whole, killed := tt.name+"-whole", tt.name+"-killed"
			id := f.submit(t, killed, tt.edit)
			if tt.name == "bf16" {
				waitsForXLA(t, f, id)
			}
			w := f.start(t, func(s *workerSpec) {
				if tt.kind != nil {
					tt.kind(s)
				}
				s.Job, s.At = id, "step 5 micro-batch 1"
			})
			w.waits(t)
			w.kill()
			f.submit(t, whole, tt.edit)
			w = f.start(t, tt.kind)
			f.untilState(t, id, job.StateSucceeded)
			want := f.finished(t, whole, w)
			if !bytes.Equal(f.weights(t, killed), want) {
				t.Error("the adapter has other bytes than that of the training that was not stopped")
			}
			if bytes.Equal(want, plain) && tt.dtype == job.DTypeBF16 {
				t.Error("the adapter has the bytes of one that was trained in f32: is bf16 in use?")
			}
			if manifest := f.manifest(t, killed); manifest.GetDtype() != tt.dtype || manifest.GetParentCheckpoint() == "" {
				t.Errorf("the manifest says dtype %q and checkpoint %q", manifest.GetDtype(), manifest.GetParentCheckpoint())
			}
		})
	}
	was, is := f.tensors(t, "whole"), f.tensors(t, "checkpointing-whole")
	for _, name := range was.Names() {
		a, err := was.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := is.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			if d := a[i] - b[i]; d > 1e-6 || d < -1e-6 {
				t.Fatalf("%s differs at %d with gradient_checkpointing: %g, %g without", name, i, b[i], a[i])
			}
		}
	}
}

// tensors are those of the adapter with a name.
func (f *fleet) tensors(t *testing.T, name string) *safetensors.File {
	t.Helper()
	found, err := f.registry.Resolve(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := f.registry.Fetch(t.Context(), found.Version, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file, err := safetensors.Open(dir + "/" + lora.WeightsFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// waitsForXLA lets a worker that computes in pure Go find a job in bf16: it hands it back, which costs the job nothing, and says
// for whom it waits.
func waitsForXLA(t *testing.T, f *fleet, id string) {
	t.Helper()
	w := f.start(t, nil)
	defer w.kill()
	ctx, cancel := context.WithTimeout(t.Context(), late)
	defer cancel()
	for event, err := range f.bus.Follow(ctx, id, bus.FollowOptions{}) {
		if err != nil {
			t.Fatalf("nobody said that the job waits for XLA: %v", err)
		}
		if strings.Contains(event.GetMessage(), "waits for a trainer with XLA") {
			break
		}
	}
	if j := f.job(t, id).Job; j.GetState() != string(job.StateQueued) || j.GetAttempts() != 0 || j.GetError() != nil {
		t.Errorf("the job that waits is %s after %d attempts with error %v", j.GetState(), j.GetAttempts(), j.GetError())
	}
}
