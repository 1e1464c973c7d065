package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"descant/pkg/hub"
)

// fetchModel brings a model onto this machine and tells how it goes.
func (a *app) fetchModel(ctx context.Context, ref string, opts hub.Options) (*hub.Snapshot, error) {
	show := &downloads{app: a, live: terminal(a.err) && !a.json}
	opts.Progress = show.report
	snapshot, err := hub.Resolve(ctx, ref, opts)
	show.end()
	if err != nil {
		return nil, err
	}
	if snapshot.Note != "" {
		fmt.Fprintln(a.err, "note:", snapshot.Note)
	}
	return snapshot, nil
}

// downloads shows how much of a model is here: one line that is rewritten on a terminal, a line every
// few seconds elsewhere.
type downloads struct {
	app  *app
	live bool

	mu      sync.Mutex
	started time.Time
	first   int64
	shown   time.Time
	any     bool
}

func (d *downloads) report(p hub.Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.started.IsZero() {
		d.started, d.first = now, p.Done
		d.shown = now
	}
	every := 5 * time.Second
	if d.live {
		every = 200 * time.Millisecond
	}
	if now.Sub(d.shown) < every && p.Done < p.Total || p.Total == 0 || p.Done == d.first {
		return
	}
	d.shown = now
	rate := float64(p.Done-d.first) / max(now.Sub(d.started).Seconds(), 0.001)
	text := fmt.Sprintf("downloading %s: %s of %s (%.0f %%), %s/s", p.Name, bytesText(p.Done), bytesText(p.Total),
		100*float64(p.Done)/float64(p.Total), bytesText(int64(rate)))
	if d.live {
		fmt.Fprintf(d.app.err, "\r\x1b[K%s", text)
	} else {
		fmt.Fprintln(d.app.err, text)
	}
	d.any = true
}

func (d *downloads) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live && d.any {
		fmt.Fprintln(d.app.err)
	}
}
