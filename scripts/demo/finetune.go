package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// adapterName is what the demo's adapter is called.
const adapterName = "demo"

// request is what one would type after `nats pub finetune.request`. The tiny base learns with a higher rate
// than a large one, and NEFTune's noise keeps it from learning the sample by heart: without it one paraphrase in ten or so goes wrong.
const request = `{
  "model": "builtin:tiny",
  "dataset": "builtin:sample",
  "name": "` + adapterName + `",
  "loss_on": "completion",
  "max_steps": 450,
  "per_device_train_batch_size": 8,
  "gradient_accumulation_steps": 1,
  "learning_rate": 0.004,
  "warmup_ratio": 0.1,
  "adam_beta2": 0.98,
  "neftune_noise_alpha": 5,
  "r": 16,
  "lora_alpha": 32,
  "max_length": 384,
  "logging_steps": 5
}`

// finetune submits the request and follows the job to its end.
func (s *system) finetune(ctx context.Context) error {
	fmt.Printf("nats pub finetune.request '%s'\n\n", compact(request))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := s.bus.Submit(ctx, []byte(request)); err != nil {
		return fmt.Errorf("submit the request: %w", err)
	}
	show := newProgress(os.Stdout)
	for event, err := range s.bus.Follow(ctx, "*", bus.FollowOptions{}) {
		if err != nil {
			return fmt.Errorf("follow the job: %w", err)
		}
		switch event.Type {
		case bus.EventRejected:
			return fmt.Errorf("the request was rejected: %s", explain(event.Error))
		case bus.EventStep:
			show.step(event.Step)
		case bus.EventState:
			show.state(event.State)
			switch state := job.State(event.State); {
			case state == job.StateSucceeded:
				return nil
			case state.Final():
				return fmt.Errorf("the job is %s: %s", state, explain(event.Error))
			}
		}
	}
	return fmt.Errorf("the events of the job end before the job does: %w", context.Cause(ctx))
}

func explain(e *pb.Error) string {
	if e == nil {
		return "no reason given"
	}
	text := e.Message
	for _, p := range e.Problems {
		text += fmt.Sprintf("; %s: %s", p.Field, p.Message)
	}
	return text + ". " + e.NextStep
}

func compact(text string) string {
	v := json.RawMessage(text)
	out, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(out)
}

// progress prints states on lines of their own and steps as a bar that is rewritten on a terminal.
type progress struct {
	out      *os.File
	terminal bool
	open     bool // the cursor stands behind a bar
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *progress) state(state string) {
	p.newLine()
	fmt.Fprintf(p.out, "%s\n", state)
}

func (p *progress) step(s *pb.Step) {
	if s == nil || s.Total == 0 {
		return
	}
	const width = 24
	done := int(s.Step) * width / int(s.Total)
	line := fmt.Sprintf("[%s%s] step %d of %d  loss %.3f  %.0f tokens/s  %.0f s left",
		strings.Repeat("█", done), strings.Repeat("·", width-done), s.Step, s.Total, s.Loss, s.TokensPerSecond, s.Eta)
	switch {
	case p.terminal:
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		p.open = true
	case s.Step%25 == 0 || s.Step == s.Total:
		fmt.Fprintln(p.out, line)
	}
}

func (p *progress) newLine() {
	if p.open {
		fmt.Fprintln(p.out)
		p.open = false
	}
}
