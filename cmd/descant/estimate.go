package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/train"
	"descant/services/trainer"
)

// publishTime is what `descant train` takes to check, publish and clean up, in seconds; measured with the tiny base.
const publishTime = 1.0

// estimation is what `descant estimate` reports.
type estimation struct {
	Base     string   `json:"base"`
	Dataset  string   `json:"dataset"`
	Rows     uint32   `json:"rows"`
	Device   string   `json:"device"`
	Warnings []string `json:"warnings,omitempty"` // of the rows
	// RowSeconds is what starting and tokenizing took here, and will take again; Seconds is that of the whole command.
	RowSeconds float64         `json:"row_seconds"`
	Seconds    float64         `json:"seconds"`
	PeakBytes  int64           `json:"peak_bytes"`
	Available  int64           `json:"available_bytes"` // memory of this machine that is free now; 0 if unknown
	Fits       bool            `json:"fits"`
	Advice     []advice        `json:"advice"`
	Training   *train.Estimate `json:"training"`
}

// advice is a change of the settings with the memory that it would leave.
type advice struct {
	Change    string `json:"change"`
	PeakBytes int64  `json:"peak_bytes"`
}

func (a *app) estimateCommand() *cobra.Command {
	var flags *requestFlags
	cmd := a.command(&cobra.Command{
		Use: "estimate", Short: "Say how much memory and time a training would take on this machine",
		Long: `Say how much memory and time ` + "`descant train`" + ` with the same flags would take on this machine. The rows are
tokenized and two layers of the model are timed with made-up weights at the shapes that they give; the weights
of the base are not loaded.`,
		Example: `  descant estimate --model Qwen/Qwen2.5-0.5B-Instruct --dataset rows.jsonl --max-steps 50
  descant estimate --model builtin:tiny --per_device_train_batch_size 8 --json`,
	}, "device log hub bus blob embedded", func(ctx context.Context, _ []string) error {
		if err := flags.load(); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		err := a.estimate(ctx, flags)
		if errors.Is(err, lifecycle.ErrStopping) || errors.Is(err, context.Canceled) {
			return interrupted("stopped")
		}
		return err
	})
	var err error
	if flags, err = bindRequest(cmd); err != nil {
		panic(err) // the tags of job.Request are wrong, which every test would show
	}
	return cmd
}

// estimate begins a training in a temporary folder, and takes the trainer's place.
func (a *app) estimate(ctx context.Context, flags *requestFlags) error {
	work, err := os.MkdirTemp("", "descant-estimate-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	flags.request.ReportTo = job.ReportToNone // there is nothing to report
	e := &estimation{Advice: []advice{}}
	t := &training{app: a, flags: flags, out: work, started: time.Now()}
	t.instead = func(ctx context.Context, s *system, id string) error {
		return e.measure(ctx, s, id, work, t.started)
	}
	asJSON := a.json
	a.json = false // only the result is JSON, not what happens on the way
	err = t.run(ctx)
	a.json = asJSON
	if !errors.Is(err, errInstead) {
		return err
	}
	e.finish(flags.request.Training)
	return a.print(e, func() { a.showEstimate(e) })
}

// measure waits for the rows and has the training estimated.
func (e *estimation) measure(ctx context.Context, s *system, id, work string, started time.Time) error {
	j, err := tokenized(ctx, s, id)
	if err != nil {
		return err
	}
	spec, err := job.ParseSpec(j.GetSpec())
	if err != nil {
		return err
	}
	e.Base, e.Dataset, e.Rows, e.Warnings = spec.Model, spec.Dataset, j.GetArtifacts().GetRows(), j.GetWarnings()
	e.RowSeconds = time.Since(started).Seconds()
	e.Available = device.MemoryFacts().Available
	if err := s.openDevice(); err != nil {
		return err
	}
	e.Device = s.device.Name()
	e.Training, err = trainer.Estimate(ctx, trainer.Deps{Objects: s.objects, Bases: registry.HubBases{Options: s.hub}, Device: s.device, Log: s.log}, j, work)
	return err
}

// tokenized waits until a job's rows are ready for a trainer.
func tokenized(ctx context.Context, s *system, id string) (*pb.Job, error) {
	for event, err := range s.bus.Follow(ctx, id, bus.FollowOptions{}) {
		if err != nil {
			return nil, err
		}
		state := job.State(event.GetState())
		if event.GetType() != bus.EventState || state != job.StateQueued && !state.Final() {
			continue
		}
		rec, err := s.bus.Job(ctx, id)
		if err != nil {
			return nil, err
		}
		if state.Final() {
			return nil, outcome(rec.Job)
		}
		return rec.Job, nil
	}
	return nil, context.Cause(ctx)
}

// finish adds what the command takes beside the training, and what would take less memory.
func (e *estimation) finish(t job.Training) {
	e.Seconds = e.RowSeconds + e.Training.Time.Total + publishTime
	e.PeakBytes = e.Training.Memory.Peak
	e.Fits = e.Available == 0 || e.PeakBytes <= e.Available
	m := e.Training.Memory
	suggest := func(less int64, format string, args ...any) {
		if less > e.PeakBytes/50 { // a fiftieth changes nothing
			e.Advice = append(e.Advice, advice{fmt.Sprintf(format, args...), e.PeakBytes - less})
		}
	}
	half := t
	half.DType = job.DTypeBF16
	wide := m.Weights > 3*e.Training.Parameters // four bytes each, and not two
	if wide && t.Method == job.MethodLora && t.DType != job.DTypeBF16 && len(half.Validate()) == 0 {
		suggest(m.Weights/2, "dtype bf16")
	}
	if !t.GradientCheckpointing {
		suggest(m.Saved-m.Checkpointed, "gradient_checkpointing (slower: each layer's forward pass runs twice)")
	}
	if n := t.PerDeviceTrainBatchSize; n > 1 {
		half := n / 2
		suggest(m.Saved-m.Saved*int64(half)/int64(n), "per_device_train_batch_size %d with gradient_accumulation_steps %d", half, t.GradientAccumulationSteps*((n+half-1)/half))
	}
	lanes := make([]int, len(e.Training.Widths))
	for i, w := range e.Training.Widths {
		lanes[i] = w.Lane
	}
	slices.Sort(lanes)
	if lanes = slices.Compact(lanes); len(lanes) > 1 {
		widest, next := lanes[len(lanes)-1], lanes[len(lanes)-2]
		suggest(m.Saved-m.Saved*int64(next)/int64(widest), "max_length %d (longer rows would be cut)", next)
	}
}

// showEstimate prints the numbers with their parts.
func (a *app) showEstimate(e *estimation) {
	t, m := e.Training.Time, e.Training.Memory
	for _, warning := range e.Warnings {
		fmt.Fprintln(a.err, "warning:", warning)
	}
	fmt.Fprintf(a.out, "%s, %s parameters in %d layers, %s trained\n", e.Base, count(e.Training.Parameters), e.Training.Layers, count(e.Training.TrainedParameters))
	fmt.Fprintf(a.out, "%s: %d rows; %d steps of %d micro-batches, %s tokens (%s with padding)\n", e.Dataset, e.Rows, e.Training.Steps,
		e.Training.MicroBatches, count(e.Training.Tokens), count(e.Training.Padded))
	fmt.Fprintf(a.out, "\nmemory  %s at the peak\n", bytesText(e.PeakBytes))
	for _, part := range []struct {
		name  string
		bytes int64
	}{{"weights of the base", m.Weights}, {"saved activations", m.Saved}, {"parameters, gradient, moments", m.Optimizer}, {"head chunk", m.Head},
		{"writing checkpoint and result", m.Saving}, {"program and working space", m.Rest}} {
		if part.bytes > 0 {
			fmt.Fprintf(a.out, "  %-30s %s\n", part.name, bytesText(part.bytes))
		}
	}
	fmt.Fprintf(a.out, "\ntime    %s on %s\n", seconds(e.Seconds), e.Device)
	for _, part := range []struct {
		name    string
		seconds float64
	}{{"start, tokenize the rows", e.RowSeconds}, {"load the base", t.Load}, {"compile", t.Compile},
		{"layers", t.Layers}, {"head and loss", t.Head}, {"optimizer", t.Update}, {"evaluate", t.Evaluate}, {"checkpoints", t.Save}, {"check and publish the result", t.Check + publishTime}} {
		fmt.Fprintf(a.out, "  %-30s %.1fs\n", part.name, part.seconds)
	}
	if busy := e.Training.BusyElsewhere; busy > 0.1 { // a tenth moves the time less than other uncertainties
		fmt.Fprintf(a.err, "warning: other work took %.0f %% of the processors while this was measured; the training will take as long only if it is as busy then\n", 100*busy)
	}
	fmt.Fprintln(a.out)
	switch {
	case e.Available == 0:
	case e.Fits:
		fmt.Fprintf(a.out, "it fits: %s are free\n", bytesText(e.Available))
	default:
		fmt.Fprintf(a.out, "it does not fit: %s are free\n", bytesText(e.Available))
	}
	for _, change := range e.Advice {
		fmt.Fprintf(a.out, "  with %s: %s\n", change.Change, bytesText(change.PeakBytes))
	}
}

// count writes a number for people.
func count(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 10_000_000:
		return fmt.Sprintf("%.1f thousand", float64(n)/1e3)
	case n < 10_000_000_000:
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f billion", float64(n)/1e9)
}
