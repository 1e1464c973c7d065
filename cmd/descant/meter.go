package main

import (
	"fmt"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// meter shows how far a work of known size in bytes is: a bar with the time left on a terminal, a line every few
// seconds elsewhere.
type meter struct {
	app     *app
	what    string
	all     *mpb.Progress // nil where there is no terminal
	bar     *mpb.Bar
	started time.Time
	shown   time.Time
}

func (a *app) newMeter(what string) *meter {
	m := &meter{app: a, what: what, started: time.Now()}
	m.shown = m.started
	if terminal(a.err) && !a.json {
		m.all = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(34), mpb.WithRefreshRate(150*time.Millisecond))
		m.bar = m.all.New(0, mpb.BarStyle().Rbound("|").Lbound("|"), mpb.PrependDecorators(decor.Name(what+" ")),
			mpb.AppendDecorators(decor.CountersKibiByte(" % .1f / % .1f  "), decor.AverageSpeed(decor.SizeB1024(0), "% .1f  "),
				decor.Name("eta "), decor.AverageETA(decor.ET_STYLE_GO)))
	}
	return m
}

// report tells how many bytes of how many are done.
func (m *meter) report(done, total int64) {
	if m.bar != nil {
		m.bar.SetTotal(total, false)
		m.bar.SetCurrent(done)
		return
	}
	now := time.Now()
	if now.Sub(m.shown) < 5*time.Second {
		return
	}
	m.shown = now
	left := now.Sub(m.started).Seconds() / float64(max(done, 1)) * float64(total-done)
	fmt.Fprintf(m.app.err, "%s: %s of %s, eta %s\n", m.what, bytesText(done), bytesText(total), seconds(left))
}

func (m *meter) end() {
	if m.bar != nil {
		m.bar.SetTotal(-1, true)
		m.all.Wait()
	}
}
