package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

func startCurve(out *bytes.Buffer, width int) *curve {
	c := &curve{out: out, width: func() int { return width }, stop: make(chan struct{}), done: make(chan struct{}), state: "starting"}
	go c.run()
	return c
}

// tell sends a training of so many steps, whose loss falls from 4 to 1, with an evaluation after each fourth.
func tell(show progress, steps int) {
	show.event(&pb.Event{Type: bus.EventState, State: "training"})
	for i := 1; i <= steps; i++ {
		loss := 4 - 3*float64(i-1)/float64(steps-1)
		show.event(&pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: uint32(i), Total: uint32(steps), Loss: loss, TokensPerSecond: 99}})
		if i%4 == 0 {
			show.event(&pb.Event{Type: bus.EventEval, Evaluation: &pb.Evaluation{Step: uint32(i), Loss: loss + 0.5, Rows: 1}})
		}
	}
}

func TestCurveFitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, width := range []int{1, 20, 40, 80, 200} {
		var out bytes.Buffer
		c := startCurve(&out, width)
		tell(c, 40)
		c.end()
		lines := c.picture(width - 1)
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n >= width {
				t.Errorf("%d columns: a line has %d: %q", width, n, line)
			}
		}
		if width < 40 {
			continue
		}
		text := strings.Join(lines, "\n")
		for _, want := range []string{"┤", "•", "╮", "step 1 ", " 40", "training  step 40/40"} {
			if !strings.Contains(text, want) {
				t.Errorf("%d columns: %q is not in\n%s", width, want, text)
			}
		}
		if strings.Contains(text, "\x1b") {
			t.Errorf("%d columns: colours that nobody wants in %q", width, text)
		}
		// The axis goes from the first evaluation, the largest loss, to the last step.
		if high, low := strings.Split(lines[0], "┤")[0], strings.Split(lines[curveHeight], "┤")[0]; strings.TrimSpace(high) != "4.269" || strings.TrimSpace(low) != "1" {
			t.Errorf("%d columns: the axis goes from %q to %q\n%s", width, low, high, text)
		}
		// What is drawn last takes the place of the picture before it, of the same height.
		if back := fmt.Sprintf("\x1b[%dA\r\x1b[J", len(lines)); !strings.Contains(out.String(), back) || strings.Count(out.String(), "evaluation of 1 rows") != 10 {
			t.Errorf("%d columns: the screen got %q", width, out.String())
		}
	}
}

func TestCurveInColour(t *testing.T) {
	t.Parallel()
	c := &curve{out: new(bytes.Buffer), width: func() int { return 80 }, colour: true}
	tell(c, 8)
	if text := strings.Join(c.picture(80), "\n"); !strings.Contains(text, "\x1b[") {
		t.Errorf("no colour in %q", text)
	}
}

func TestCurveOfLittle(t *testing.T) {
	t.Parallel()
	c := &curve{out: new(bytes.Buffer), width: func() int { return 80 }, state: "queued"}
	if got := c.picture(80); !slices.Equal(got, []string{"queued"}) {
		t.Errorf("before the first step: %q", got)
	}
	for i, loss := range []float64{math.NaN(), 2, math.Inf(1), 2} {
		c.event(&pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: uint32(i), Loss: loss}})
	}
	if got := c.picture(80); len(got) < 3 || strings.Contains(strings.Join(got[:len(got)-1], ""), "NaN") {
		t.Errorf("of losses that are not finite: %q", got)
	}
}

func TestResample(t *testing.T) {
	t.Parallel()
	points := addLoss(addLoss(addLoss(nil, lossPoint{2, 4}), lossPoint{6, 9}), lossPoint{4, 2}) // the last one repeats what went before
	got := resample(points, 0, 8, 9)
	for i, want := range []float64{math.NaN(), math.NaN(), 4, 3, 2, math.NaN(), math.NaN(), math.NaN(), math.NaN()} {
		if got[i] != want && !(math.IsNaN(got[i]) && math.IsNaN(want)) {
			t.Errorf("column %d is %v, want %v", i, got[i], want)
		}
	}
	if got := resample([]lossPoint{{1, 1}, {2, 3}}, 1, 100, 2); got[0] != 2 || !math.IsNaN(got[1]) {
		t.Errorf("two steps in a column of two: %v", got)
	}
}

func TestWatchWithoutATerminal(t *testing.T) {
	t.Parallel()
	var out, problems bytes.Buffer
	show := (&app{streams: streams{out: &out, err: &problems}}).newWatch()
	tell(show, 2)
	show.end()
	if out.Len() != 0 || !strings.Contains(problems.String(), "step 2/2  loss 1.0000") || strings.Contains(problems.String(), "\x1b") {
		t.Errorf("stdout %q, stderr %q", out.String(), problems.String())
	}
}
