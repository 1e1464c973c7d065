package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/guptarohit/asciigraph"
	"golang.org/x/term"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

const (
	curveHeight = 12 // lines of the plot
	curvePause  = 150 * time.Millisecond
)

// curve draws the losses of a job into a terminal, with the last numbers below; other lines scroll above.
type curve struct {
	out    io.Writer
	width  func() int // columns of the terminal
	colour bool
	stop   chan struct{}
	done   chan struct{}

	mu          sync.Mutex
	state       string
	step        *pb.Step
	train, eval []lossPoint
	drawn       int  // lines of the picture on the screen
	stale       bool // what is known is not on the screen
}

// lossPoint is a loss in nats per token after so many steps.
type lossPoint struct {
	step uint32
	loss float64
}

// newWatch chooses the display of `jobs watch`: a curve where stdout is a terminal.
func (a *app) newWatch() progress {
	if a.json || !terminal(a.out) || lookup(a.environ, "TERM") == "dumb" {
		return a.newProgress()
	}
	c := &curve{out: a.out, colour: a.colourful(a.out), width: func() int { return columns(a.out) }, stop: make(chan struct{}), done: make(chan struct{}), state: "starting"}
	go c.run()
	return c
}

// columns is the width of a terminal, or that of the oldest ones where it does not tell.
func columns(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// run brings the picture up to date from time to time: a replay brings thousands of steps at once.
func (c *curve) run() {
	defer close(c.done)
	ticker := time.NewTicker(curvePause)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			c.mu.Lock()
			if c.stale {
				c.draw("")
			}
			c.mu.Unlock()
		}
	}
}

func (c *curve) event(e *pb.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.GetType() == bus.EventStep && e.GetStep() != nil:
		c.step = e.GetStep()
		c.train = addLoss(c.train, lossPoint{c.step.GetStep(), c.step.GetLoss()})
		c.stale = true
		return
	case e.GetType() == bus.EventEval && e.GetEvaluation() != nil:
		c.eval = addLoss(c.eval, lossPoint{e.GetEvaluation().GetStep(), e.GetEvaluation().GetLoss()})
	case e.GetType() == bus.EventState:
		c.state = e.GetState()
	}
	if text := eventText(e); text != "" {
		c.draw(text)
	}
}

// addLoss adds a point. A training that resumed from a checkpoint repeats steps: what it says last counts.
func addLoss(points []lossPoint, p lossPoint) []lossPoint {
	for len(points) > 0 && points[len(points)-1].step >= p.step {
		points = points[:len(points)-1]
	}
	return append(points, p)
}

func (c *curve) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draw(text)
}

func (c *curve) end() {
	close(c.stop)
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draw("")
}

// draw puts the picture in place of the last one, below a line of text if there is one.
func (c *curve) draw(text string) {
	var b strings.Builder
	if c.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r\x1b[J", c.drawn)
	}
	if text != "" {
		b.WriteString(text + "\n")
	}
	lines := c.picture(c.width() - 1) // a full line would wrap in some terminals
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	c.drawn, c.stale = len(lines), false
	// A picture that cannot be shown is no reason to end: the job's end is still told by the exit code.
	_, _ = io.WriteString(c.out, b.String())
}

// picture is the plot and the numbers in lines of at most width columns.
func (c *curve) picture(width int) (lines []string) {
	status := c.state
	if s := c.step; s != nil {
		status = fmt.Sprintf("%s  step %d/%d  loss %.4f  %.0f tok/s  eta %s", c.state, s.GetStep(), s.GetTotal(), s.GetLoss(), s.GetTokensPerSecond(), seconds(s.GetEta()))
	}
	lines = append(c.plot(width), status)
	if len(c.eval) > 0 {
		last := c.eval[len(c.eval)-1]
		lines = append(lines, fmt.Sprintf("─ train  • eval, last %.4f after step %d", last.loss, last.step))
	}
	for i := max(len(lines)-2, 0); i < len(lines); i++ {
		if !strings.Contains(lines[i], "\x1b") {
			lines[i] = cut(lines[i], width)
		}
	}
	return lines
}

// plot draws both losses over the steps so far, or nothing while there is no curve yet or no room.
func (c *curve) plot(width int) []string {
	first, last, low, high := uint32(math.MaxUint32), uint32(0), math.Inf(1), math.Inf(-1)
	for _, points := range [][]lossPoint{c.train, c.eval} {
		for _, p := range points {
			if finite(p.loss) {
				first, last = min(first, p.step), max(last, p.step)
				low, high = min(low, p.loss), max(high, p.loss)
			}
		}
	}
	label := func(v float64) string { return fmt.Sprintf("%.4g", v) }
	margin := 12 // the widest label, such as -1.234e+10, and the axis
	room := width - margin - 3
	if first >= last || room < 10 {
		return nil
	}
	series := [][]float64{resample(c.train, first, last, room)}
	options := []asciigraph.Option{asciigraph.Height(curveHeight), asciigraph.Offset(3), asciigraph.LowerBound(low), asciigraph.UpperBound(high),
		asciigraph.YAxisValueFormatter(func(v float64) string { return fmt.Sprintf("%*s", margin-1, label(v)) })}
	chars, colours := []asciigraph.CharSet{asciigraph.DefaultCharSet}, []asciigraph.AnsiColor{asciigraph.Blue}
	if len(c.eval) > 0 {
		series = append(series, resample(c.eval, first, last, room))
		chars, colours = append(chars, asciigraph.CreateCharSet("•")), append(colours, asciigraph.Yellow)
	}
	options = append(options, asciigraph.SeriesChars(chars...))
	if c.colour {
		options = append(options, asciigraph.SeriesColors(colours...))
	}
	lines := strings.Split(asciigraph.PlotMany(series, options...), "\n")
	from, to := fmt.Sprintf("step %d", first), fmt.Sprint(last)
	return append(lines, strings.Repeat(" ", margin+2)+from+strings.Repeat(" ", max(room-len(from)-len(to), 1))+to)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// resample gives a value to each of n columns from step first to step last: the mean of the points there, else what lies on
// the line between the neighbours, else NaN. Losses that are not finite are left out.
func resample(points []lossPoint, first, last uint32, n int) []float64 {
	sum, count := make([]float64, n), make([]float64, n)
	for _, p := range points {
		if finite(p.loss) {
			i := int(math.Round(float64(p.step-first) / float64(last-first) * float64(n-1)))
			sum[i] += p.loss
			count[i]++
		}
	}
	values, before := make([]float64, n), -1
	for i := range values {
		values[i] = math.NaN()
		if count[i] == 0 {
			continue
		}
		values[i] = sum[i] / count[i]
		for j := before + 1; before >= 0 && j < i; j++ {
			part := float64(j-before) / float64(i-before)
			values[j] = values[before] + part*(values[i]-values[before])
		}
		before = i
	}
	return values
}
