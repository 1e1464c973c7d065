package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/train"
	"descant/services/tokenizer"
)

// What `descant train` takes beside the training itself, measured with the tiny base: the servers in its process, and
// starting, uploading, checking and publishing.
const (
	servicesMemory = 120 << 20 // bytes
	servicesTime   = 2.0       // seconds
)

// estimation is what `descant estimate` reports.
type estimation struct {
	Base    string `json:"base"`
	Dataset string `json:"dataset"`
	Rows    int64  `json:"rows"`
	Device  string `json:"device"`
	// TokeniseSeconds is what the rows took here, and will take again; Seconds and PeakBytes are those of the whole command.
	TokeniseSeconds float64         `json:"tokenise_seconds"`
	Seconds         float64         `json:"seconds"`
	PeakBytes       int64           `json:"peak_bytes"`
	Available       int64           `json:"available_bytes"` // memory of this machine that is free now; 0 if unknown
	Fits            bool            `json:"fits"`
	Advice          []advice        `json:"advice"`
	Training        *train.Estimate `json:"training"`
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
tokenized and one layer of the model is timed with made-up weights at the shapes that they give; the weights of
the base are not loaded.`,
		Example: `  descant estimate --model Qwen/Qwen2.5-0.5B-Instruct --dataset rows.jsonl --max-steps 50
  descant estimate --model builtin:tiny --per_device_train_batch_size 8 --json`,
	}, "device log hub bus blob embedded", func(ctx context.Context, _ []string) error {
		if err := flags.load(); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
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

func (a *app) estimate(ctx context.Context, flags *requestFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	request := flags.request
	work, err := os.MkdirTemp("", "descant-estimate-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	e := &estimation{Dataset: firstOf(request.Dataset, request.Datasets.String()), Advice: []advice{}}
	var dir string
	if name, snapshot, err := a.base(ctx, request.Model); err != nil {
		return err
	} else {
		e.Base, dir = name, snapshot.Dir
	}
	begin := time.Now()
	shards, err := a.tokenise(ctx, dir, request, work)
	if err != nil {
		return err
	}
	e.Rows, e.TokeniseSeconds = int64(shards.Len()), time.Since(begin).Seconds()
	d, err := device.Open(a.cfg.Device)
	if err != nil {
		return err
	}
	defer d.Close()
	e.Device, e.Available = d.Name(), device.MemoryFacts().Available
	log, err := a.logger(true)
	if err != nil {
		return err
	}
	e.Training, err = train.EstimateRun(ctx, train.Config{Device: d, BaseDir: dir, BaseName: e.Base, Training: request.Training,
		Rows: shards, Dir: work, Logger: log})
	if err != nil {
		return err
	}
	e.finish(request.Training)
	return a.print(e, func() { a.showEstimate(e) })
}

// tokenise makes shards of the rows as the tokenizer service does.
func (a *app) tokenise(ctx context.Context, base string, request job.Request, work string) (*dataset.Shards, error) {
	text, err := a.openEncoder(ctx, base)
	if err != nil {
		return nil, err
	}
	defer text.Close()
	parts, err := a.parts(ctx, request, work)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(work, "shards")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	made, err := text.Tokenise(ctx, parts, request.Training, dir, tokenizer.TokeniseOptions(request.Training))
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, part := range made {
		for _, name := range part.Shards {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return dataset.OpenShards(paths)
}

// finish adds what the command takes beside the training, and what would take less memory.
func (e *estimation) finish(t job.Training) {
	e.Seconds = e.Training.Time.Total + e.TokeniseSeconds + servicesTime
	e.PeakBytes = e.Training.Memory.Peak + servicesMemory
	e.Fits = e.Available == 0 || e.PeakBytes <= e.Available
	m := e.Training.Memory
	suggest := func(less int64, format string, args ...any) {
		if less > e.PeakBytes/50 { // a fiftieth changes nothing
			e.Advice = append(e.Advice, advice{fmt.Sprintf(format, args...), e.PeakBytes - less})
		}
	}
	if n := t.PerDeviceTrainBatchSize; n > 1 {
		half := n / 2
		suggest(m.Saved-m.Saved*int64(half)/int64(n), "per_device_train_batch_size %d with gradient_accumulation_steps %d", half, t.GradientAccumulationSteps*((n+half-1)/half))
	}
	if widths := e.Training.Widths; len(widths) > 1 {
		widest, next := widths[len(widths)-1].Width, widths[len(widths)-2].Width
		suggest(m.Saved-m.Saved*int64(next)/int64(widest), "max_length %d (longer rows would be cut)", next)
	}
}

// showEstimate prints the numbers with their parts.
func (a *app) showEstimate(e *estimation) {
	t, m := e.Training.Time, e.Training.Memory
	fmt.Fprintf(a.out, "%s, %s parameters in %d layers, %s trained\n", e.Base, count(e.Training.Parameters), e.Training.Layers, count(e.Training.TrainedParameters))
	fmt.Fprintf(a.out, "%s: %d rows; %d steps of %d micro-batches, %s tokens (%s with padding)\n", e.Dataset, e.Rows, e.Training.Steps,
		e.Training.MicroBatches, count(e.Training.Tokens), count(e.Training.Padded))
	fmt.Fprintf(a.out, "\nmemory  %s at the peak\n", bytesText(e.PeakBytes))
	for _, part := range []struct {
		name  string
		bytes int64
	}{{"weights of the base", m.Weights}, {"saved activations", m.Saved}, {"parameters, gradient, moments", m.Optimizer}, {"head chunk", m.Head},
		{"writing checkpoint and result", m.Saving}, {"program and working space", m.Rest}, {"servers", servicesMemory}} {
		if part.bytes > 0 {
			fmt.Fprintf(a.out, "  %-30s %s\n", part.name, bytesText(part.bytes))
		}
	}
	fmt.Fprintf(a.out, "\ntime    %s on %s\n", seconds(e.Seconds), e.Device)
	for _, part := range []struct {
		name    string
		seconds float64
	}{{"start and publish", servicesTime}, {"tokenize the rows", e.TokeniseSeconds}, {"load the base", t.Load}, {"compile", t.Compile},
		{"layers", t.Layers}, {"head and loss", t.Head}, {"optimizer", t.Update}, {"check the result", t.Check}} {
		fmt.Fprintf(a.out, "  %-30s %.1fs\n", part.name, part.seconds)
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
