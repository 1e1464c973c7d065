package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// progress shows the events of one job.
type progress interface {
	event(e *pb.Event)
	note(text string)
	// end takes the display down; nothing is shown afterwards.
	end()
}

// newProgress chooses the display: JSON lines on stdout, a bar on a terminal, else plain lines.
func (a *app) newProgress() progress {
	switch {
	case a.json:
		return &jsonProgress{out: a.out, err: a.err}
	case terminal(a.err):
		return newBar(a.err)
	}
	return &plainProgress{out: a.err}
}

// jsonProgress writes every event as one line.
type jsonProgress struct{ out, err io.Writer }

func (p *jsonProgress) event(e *pb.Event) {
	text, err := bus.ToJSON(e)
	if err != nil {
		fmt.Fprintln(p.err, "descant: an event cannot be shown:", err)
		return
	}
	fmt.Fprintf(p.out, "%s\n", text)
}

func (p *jsonProgress) note(text string) { fmt.Fprintln(p.err, text) }
func (p *jsonProgress) end()             {}

// plainProgress writes a line for each event.
type plainProgress struct{ out io.Writer }

func (p *plainProgress) event(e *pb.Event) {
	if s := e.GetStep(); s != nil && e.GetType() == bus.EventStep {
		fmt.Fprintf(p.out, "step %d/%d  loss %.4f  lr %.2e  grad %.3f  %.0f tok/s  eta %s\n", s.GetStep(), s.GetTotal(),
			s.GetLoss(), s.GetLr(), s.GetGradNorm(), s.GetTokensPerSecond(), seconds(s.GetEta()))
		return
	}
	if text := eventText(e); text != "" {
		fmt.Fprintln(p.out, text)
	}
}

func (p *plainProgress) note(text string) { fmt.Fprintln(p.out, text) }
func (p *plainProgress) end()             {}

// eventText is an event that is not a step, on one line.
func eventText(e *pb.Event) string {
	switch e.GetType() {
	case bus.EventState:
		text := e.GetState()
		if m := e.GetMessage(); m != "" && m != text {
			if strings.HasPrefix(m, text) {
				return m
			}
			text += ": " + m
		}
		return text
	case bus.EventLog:
		if e.GetLevel() == "info" {
			return e.GetMessage()
		}
		return e.GetLevel() + ": " + e.GetMessage()
	case bus.EventEval:
		return evaluationText(e.GetEvaluation())
	case bus.EventRejected:
		return "rejected: " + e.GetMessage()
	}
	return ""
}

// evaluationText is an evaluation on one line.
func evaluationText(e *pb.Evaluation) string {
	if e == nil {
		return ""
	}
	text := fmt.Sprintf("evaluation of %d rows: loss %.4f, perplexity %.2f, ", e.GetRows(), e.GetLoss(), math.Exp(e.GetLoss()))
	if e.GetStep() == 0 {
		return text + "of the base"
	}
	text += fmt.Sprintf("after step %d (base %.4f, best %.4f after step %d)", e.GetStep(), e.GetBaseLoss(), e.GetBestLoss(), e.GetBestStep())
	if e.GetStop() {
		text += fmt.Sprintf("; no improvement in %d evaluations: training stops early", e.GetWorse())
	}
	return text
}

func seconds(s float64) string {
	if s < 0 || s > 1e7 {
		return "-"
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// bar is a progress bar with the last numbers beside it; other lines scroll above.
type bar struct {
	all *mpb.Progress
	bar *mpb.Bar

	mu    sync.Mutex
	state string
	step  *pb.Step
}

func newBar(out io.Writer) *bar {
	b := &bar{state: "starting", all: mpb.New(mpb.WithOutput(out), mpb.WithWidth(34), mpb.WithRefreshRate(150*time.Millisecond))}
	// A total of 0 is one that is not known yet: the bar does not complete by itself.
	b.bar = b.all.New(0, mpb.BarStyle().Rbound("|").Lbound("|"),
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return b.left() })),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return b.right() }), decor.Elapsed(decor.ET_STYLE_GO)))
	return b
}

func (b *bar) left() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.step == nil {
		return b.state + " "
	}
	return fmt.Sprintf("%s %d/%d ", b.state, b.step.GetStep(), b.step.GetTotal())
}

func (b *bar) right() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.step == nil {
		return " "
	}
	return fmt.Sprintf(" loss %.4f  %.0f tok/s  eta %s  ", b.step.GetLoss(), b.step.GetTokensPerSecond(), seconds(b.step.GetEta()))
}

func (b *bar) event(e *pb.Event) {
	if s := e.GetStep(); s != nil && e.GetType() == bus.EventStep {
		b.mu.Lock()
		b.step = s
		b.mu.Unlock()
		b.bar.SetTotal(int64(s.GetTotal()), false)
		b.bar.SetCurrent(int64(s.GetStep()))
		return
	}
	if e.GetType() == bus.EventState {
		b.mu.Lock()
		b.state = e.GetState()
		b.mu.Unlock()
	}
	if text := eventText(e); text != "" {
		b.note(text)
	}
}

func (b *bar) note(text string) {
	// A line that cannot be shown above the bar is no reason to stop the work.
	_, _ = fmt.Fprintln(b.all, text)
}

func (b *bar) end() {
	b.bar.SetTotal(-1, true) // complete where it stands, with a last look at the numbers
	b.all.Wait()
}
