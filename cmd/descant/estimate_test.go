package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/train"
)

// TestEstimateCommand estimates a training of the tiny base in JSON and in words.
func TestEstimateCommand(t *testing.T) {
	t.Parallel()
	environ := apart(t)
	args := []string{"estimate", "--model", "builtin:tiny", "--max_steps", "3", "--max-length", "64", "--dataset",
		write(t, "rows.jsonl", strings.Repeat(`{"instruction":"a","input":"","output":"b"}`+"\n", 12))}
	var got estimation
	decode(t, environ, &got, append(args, "--json")...)
	if got.Rows != 12 || got.Training.Steps != 3 || got.Training.MicroBatches != 12 || got.Training.Layers < 2 || !got.Fits ||
		got.PeakBytes <= 0 || got.Seconds <= publishTime || got.Base != "builtin:tiny" {
		t.Errorf("estimate %+v, training %+v", got, got.Training)
	}
	code, out, problems := cli(t, environ, args...)
	for _, want := range []string{"12 rows; 3 steps of 12 micro-batches", "at the peak", "saved activations", "compile", "it fits"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit code %d, %q is not in:\n%s%s", code, want, out, problems)
		}
	}
	if code, _, problems := cli(t, environ, "estimate", "--model", "builtin:tiny", "--r", "0"); code != exitUsage || !strings.Contains(problems, "r: is out of range") {
		t.Errorf("exit code %d: %s", code, problems)
	}
}

// TestAdvice works out what smaller settings would leave.
func TestAdvice(t *testing.T) {
	t.Parallel()
	settings := job.DefaultTraining()
	settings.PerDeviceTrainBatchSize, settings.GradientAccumulationSteps = 3, 4
	e := estimation{Available: 2000 << 20, Training: &train.Estimate{
		Memory: train.MemoryEstimate{Peak: 3000 << 20, Saved: 1200 << 20, Checkpointed: 300 << 20},
		Widths: []train.Width{{Lane: 64}, {Lane: 256}, {Lane: 1024}},
	}}
	e.finish(settings)
	peak := int64(3000 << 20)
	want := []advice{
		{"gradient_checkpointing (slower: each layer's forward pass runs twice)", peak - 900<<20},
		{"per_device_train_batch_size 1 with gradient_accumulation_steps 12", peak - 800<<20},
		{"max_length 256 (longer rows would be cut)", peak - 900<<20},
	}
	if e.Fits || e.PeakBytes != peak || !reflect.DeepEqual(e.Advice, want) {
		t.Errorf("peak %d, fits %v, advice %v, expected %v", e.PeakBytes, e.Fits, e.Advice, want)
	}

	// bf16 saves memory only where a weight takes more than its two bytes.
	half := advice{"dtype bf16", peak - 400<<20}
	e.Training.Memory.Weights = 800 << 20
	for bytes, saves := range map[int64]bool{4: true, 2: false} {
		e.Advice, e.Training.Parameters = nil, e.Training.Memory.Weights/bytes
		e.finish(settings)
		if slices.Contains(e.Advice, half) != saves {
			t.Errorf("with %d bytes a weight the advice is %v", bytes, e.Advice)
		}
	}
}
