package inference

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// TestReadyWaitsForThePrograms: while programs of the configured base are compiled, requests are taken, but the worker does
// not say that it is ready.
func TestReadyWaitsForThePrograms(t *testing.T) {
	t.Parallel()
	f := fleetOn(t, device.Go)
	s := f.newWorker(t, "w-1", f.registry, nil)
	m, e := fakeServed(f.base)
	e.warm = make(chan struct{})
	s.pool = newPool(1, func(context.Context, registry.Base) (*served, error) { return m, nil })
	m.text = tinyLanguage(t)
	f.run(t, s)
	<-s.Taking()
	health := func() int {
		status, _ := call(t, s.apiHandler(openai.Keys{}, new(lifecycle.Drain)), http.MethodGet, "/health", "")
		return status
	}
	advert := func(ready bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for one, err := range f.bus.WatchAdverts(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if one.Worker == "w-1" && len(one.Info.GetBases()) == 1 && one.Info.GetReady() == ready {
				return
			}
		}
		t.Fatalf("no advert says that ready is %v", ready)
	}
	advert(false)
	if status := health(); status != http.StatusServiceUnavailable {
		t.Errorf("health is %d while programs are compiled", status)
	}
	close(e.warm)
	<-s.Ready()
	advert(true)
	if status := health(); status != http.StatusOK {
		t.Errorf("health is %d", status)
	}
}

// TestReadyWorkerCompilesNothing sends requests of all lengths for the base and for adapters that come and go.
func TestReadyWorkerCompilesNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.worker(t, "w-1", f.registry, func(c *Config) { c.MaxContext, c.MaxRows = 600, 5 })
	compilations := func() string {
		_, text := call(t, s.deps.Metrics.Handler(), http.MethodGet, "/metrics", "")
		all := slices.Collect(strings.Lines(lines(text, "descant_compilations_total{")))
		if len(all) != 1 {
			t.Fatalf("the metrics tell of compilations %d times:\n%s", len(all), text)
		}
		return all[0]
	}
	before := compilations()
	if strings.HasSuffix(before, " 0\n") {
		t.Fatalf("nothing was compiled: %s", before)
	}
	models := []string{f.base.Ref}
	for i := range 3 {
		found, _ := f.publish(t, fmt.Sprint("a", i), 10+i, nil)
		f.until(t, "w-1", found.Version.GetDigest(), stateReady)
		models = append(models, found.Name)
	}
	var asked sync.WaitGroup
	for i := range 24 {
		asked.Go(func() {
			req := &pb.ChatRequest{Model: models[i%len(models)], Prompt: strings.Repeat("word ", 1+i*i/6), MaxTokens: uint32(1 + i%9), IgnoreEos: ptr(true)}
			for _, err := range f.bus.Chat(t.Context(), bus.WorkerSubject("w-1"), req, time.Minute) {
				if err != nil {
					t.Errorf("request %d: %v", i, err)
				}
			}
		})
	}
	asked.Wait()
	if after := compilations(); after != before {
		t.Errorf("before: %s, now: %s", before, after)
	}
}
