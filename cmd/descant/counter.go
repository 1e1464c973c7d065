package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// counter shows how many things of how many are done, with the time left: a bar on a terminal, a line every few seconds
// elsewhere. It may be used by several goroutines.
type counter struct {
	app         *app
	what, units string
	total       int
	all         *mpb.Progress // nil where there is no terminal
	bar         *mpb.Bar

	mu      sync.Mutex
	done    int
	started time.Time
	shown   time.Time
}

func (a *app) newCounter(what, units string, total int) *counter {
	c := &counter{app: a, what: what, units: units, total: total, started: time.Now()}
	c.shown = c.started
	if terminal(a.err) && !a.json {
		c.all = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(34), mpb.WithRefreshRate(150*time.Millisecond))
		c.bar = c.all.New(int64(total), mpb.BarStyle().Rbound("|").Lbound("|"), mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersNoUnit(" %d / %d "+units+"  "), decor.Name("eta "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return c
}

// add counts n more.
func (c *counter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	if c.bar != nil {
		c.bar.SetCurrent(int64(c.done))
		return
	}
	now := time.Now()
	if now.Sub(c.shown) < 5*time.Second {
		return
	}
	c.shown = now
	left := now.Sub(c.started).Seconds() / float64(max(c.done, 1)) * float64(c.total-c.done)
	fmt.Fprintf(c.app.err, "%s: %d of %d %s, eta %s\n", c.what, c.done, c.total, c.units, seconds(left))
}

func (c *counter) end() {
	if c.bar != nil {
		c.bar.SetTotal(-1, true) // complete where it stands
		c.all.Wait()
	}
}
