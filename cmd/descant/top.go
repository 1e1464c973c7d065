package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// load is what a running system has to do at a moment.
type load struct {
	Time    time.Time      `json:"time"`
	Workers []workerLoad   `json:"workers"`
	Jobs    map[string]int `json:"jobs"` // how many are in each state that is not final
	Active  []activeJob    `json:"active"`
}

// workerLoad is one base on an inference worker, or a worker that has none yet.
type workerLoad struct {
	Worker   string `json:"worker"`
	State    string `json:"state"` // starting, ready or draining
	Base     string `json:"base,omitempty"`
	Rows     uint32 `json:"rows"`
	UsedRows uint32 `json:"used_rows"`
	Waiting  uint32 `json:"waiting"`
	// Adapters of this base that answer at once.
	Adapters int `json:"adapters"`
	// Tokens per second since the look before; absent where there is none.
	PromptRate *float64 `json:"prompt_tokens_per_second,omitempty"`
	OutputRate *float64 `json:"output_tokens_per_second,omitempty"`
}

// activeJob is a job in training, with the last numbers that were told.
type activeJob struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Step       uint32  `json:"step"`
	Total      uint32  `json:"total"`
	Loss       float64 `json:"loss"`
	TokensRate float64 `json:"tokens_per_second"`
}

func (a *app) topCommand() *cobra.Command {
	var once bool
	cmd := a.command(&cobra.Command{
		Use: "top", Short: "Show inference workers, queues and throughput of a running system",
		Long: fmt.Sprintf(`Show the inference workers of a running system with their rows, queues and tokens per second, how many jobs are in
which state, and those in training. It looks every %v; with --once it shows one interval and leaves.`, bus.AdvertRenewal),
		Example: "  descant top\n  descant top --once --json | jq .workers",
	}, "bus", func(ctx context.Context, _ []string) error {
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error { return a.top(ctx, b, once) })
	})
	cmd.Flags().BoolVar(&once, "once", false, "show one interval and leave")
	return cmd
}

// top looks and shows until ctx ends, which is how a person leaves.
func (a *app) top(ctx context.Context, b *bus.Bus, once bool) error {
	before := map[string]*pb.WorkerAdvert{}
	ticker := time.NewTicker(bus.AdvertRenewal)
	defer ticker.Stop()
	for first := true; ; first = false {
		now, adverts, err := look(ctx, b, before)
		if err != nil {
			return err
		}
		if !first || !once {
			if err := a.showLoad(now, once); err != nil {
				return err
			}
			if once {
				return nil
			}
		}
		clear(before)
		for _, advert := range adverts {
			before[advert.GetId()] = advert
		}
		select {
		case <-ctx.Done():
			if once {
				return context.Cause(ctx)
			}
			return nil
		case <-ticker.C:
		}
	}
}

func look(ctx context.Context, b *bus.Bus, before map[string]*pb.WorkerAdvert) (*load, []*pb.WorkerAdvert, error) {
	adverts, err := b.Adverts(ctx)
	if err != nil {
		return nil, nil, err
	}
	records, err := b.Jobs(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := &load{Time: time.Now().UTC(), Workers: []workerLoad{}, Jobs: map[string]int{}, Active: []activeJob{}}
	for _, advert := range adverts {
		now.Workers = append(now.Workers, workerLoads(advert, before[advert.GetId()])...)
	}
	slices.SortStableFunc(now.Workers, func(x, y workerLoad) int { return strings.Compare(x.Worker, y.Worker) })
	for _, rec := range records {
		j := rec.Job
		if !job.State(j.GetState()).Final() {
			now.Jobs[j.GetState()]++
		}
		if job.State(j.GetState()) == job.StateTraining {
			b.Renew(ctx, j)
			p := j.GetProgress()
			now.Active = append(now.Active, activeJob{j.GetId(), j.GetName(), p.GetStep(), p.GetTotal(), p.GetLoss(), p.GetTokensPerSecond()})
		}
	}
	return now, adverts, nil
}

// workerLoads reads an advert, with the speeds since an earlier one of the same worker, or nil.
func workerLoads(advert, before *pb.WorkerAdvert) (all []workerLoad) {
	state := "starting"
	switch {
	case advert.GetDraining():
		state = "draining"
	case advert.GetReady():
		state = "ready"
	}
	for _, base := range advert.GetBases() {
		w := workerLoad{Worker: advert.GetId(), State: state, Base: base.GetBase(), Rows: base.GetRows(),
			UsedRows: base.GetRows() - min(base.GetFreeRows(), base.GetRows()), Waiting: base.GetWaiting()}
		for _, adapter := range advert.GetAdapters() {
			if adapter.GetBaseDigest() == base.GetDigest() && adapter.GetState() == bus.AdapterReady {
				w.Adapters++
			}
		}
		passed := advert.GetUpdatedAt().AsTime().Sub(before.GetUpdatedAt().AsTime()).Seconds()
		for _, old := range before.GetBases() {
			prompt, output := base.GetPromptTokens()-old.GetPromptTokens(), base.GetOutputTokens()-old.GetOutputTokens()
			// Counts that fell are those of a base that was loaded anew.
			if old.GetDigest() == base.GetDigest() && passed > 0 && prompt >= 0 && output >= 0 {
				promptRate, outputRate := float64(prompt)/passed, float64(output)/passed
				w.PromptRate, w.OutputRate = &promptRate, &outputRate
			}
		}
		all = append(all, w)
	}
	if len(all) == 0 {
		all = append(all, workerLoad{Worker: advert.GetId(), State: state})
	}
	return all
}

func (a *app) showLoad(now *load, once bool) error {
	if a.json && !once {
		return json.NewEncoder(a.out).Encode(now) // one a line
	}
	return a.print(now, func() {
		// Whole pictures, so that a terminal does not flicker.
		var page bytes.Buffer
		(&app{streams: streams{out: &page}}).tables(now)
		text := page.String()
		switch {
		case once:
		case terminal(a.out):
			var picture strings.Builder
			picture.WriteString("\x1b[H\x1b[2J")
			for line := range strings.Lines(text) { // one that wraps would take the others out of their columns
				picture.WriteString(cut(strings.TrimSuffix(line, "\n"), columns(a.out)-1) + "\n")
			}
			text = picture.String()
		default:
			text += "\n"
		}
		_, _ = io.WriteString(a.out, text) // like other results for people
	})
}

// tables writes a load for people.
func (a *app) tables(now *load) {
	rate := func(v *float64) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%.1f", *v)
	}
	var rows [][]string
	for _, w := range now.Workers {
		rows = append(rows, []string{w.Worker, w.State, firstOf(w.Base, "-"), fmt.Sprintf("%d/%d", w.UsedRows, w.Rows), fmt.Sprint(w.Waiting),
			rate(w.PromptRate), rate(w.OutputRate), fmt.Sprint(w.Adapters)})
	}
	a.table([]string{"WORKER", "STATE", "BASE", "ROWS", "WAITING", "PROMPT TOK/S", "OUTPUT TOK/S", "ADAPTERS"}, rows)
	if len(rows) == 0 {
		fmt.Fprintln(a.out, "(no inference worker is running)")
	}
	var counts []string
	for _, state := range job.States() { // final ones are not counted
		if n := now.Jobs[string(state)]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, state))
		}
	}
	fmt.Fprintf(a.out, "\njobs: %s\n", firstOf(strings.Join(counts, ", "), "none under way"))
	if len(now.Active) == 0 {
		return
	}
	rows = nil
	for _, j := range now.Active {
		rows = append(rows, []string{j.ID, j.Name, fmt.Sprintf("%d/%d", j.Step, j.Total), fmt.Sprintf("%.4f", j.Loss), fmt.Sprintf("%.0f", j.TokensRate)})
	}
	fmt.Fprintln(a.out)
	a.table([]string{"JOB", "NAME", "STEP", "LOSS", "TOK/S"}, rows)
}
