package inference

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"descant/pkg/registry"
	"descant/services/gateway"
)

// TestReadyMeansReady: from the moment on that every worker is ready, a request through the gateway gets the new version,
// on whichever worker: never an unknown model, never an older version. So it is for new names, for next versions, and for
// an alias when it was moved.
func TestReadyMeansReady(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	workers := map[string]*Service{}
	for _, name := range []string{"w-1", "w-2"} {
		workers[name] = f.worker(t, name, f.registry, func(c *Config) { c.MaxRows, c.Slots = 1, 4 })
	}
	url := f.gateway(t)
	all := func(model, want string, found registry.Resolved) {
		t.Helper()
		var asked sync.WaitGroup
		for range 6 { // with one row a worker, so that both have to answer
			asked.Go(func() {
				if status, got, by := completion(t, url, model); status != http.StatusOK || got != want || by != found.Pinned() {
					t.Errorf("%s, ready on both workers as %s, is answered with status %d: %q by %q, want %q", model, found.Pinned(), status, got, by, want)
				}
			})
		}
		asked.Wait()
	}
	answers := map[string]string{}
	for i := range 8 {
		name := fmt.Sprintf("ready-%d", i%3)
		found, answer := f.publish(t, name, 10+i, nil)
		answers[found.Pinned()] = answer
		for worker := range workers {
			f.until(t, worker, found.Version.GetDigest(), stateReady)
		}
		all(name, answer, found)
		all(found.Pinned(), answer, found)
	}
	for _, version := range []string{"ready-0@1", "ready-0@3", "ready-0@2"} {
		if _, err := f.registry.Promote(t.Context(), version, registry.Prod, registry.Whole); err != nil {
			t.Fatal(err)
		}
		found, err := f.registry.Resolve(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		all("ready-0@prod", answers[version], found)
	}
	for name, s := range workers {
		if stats := s.pool.loaded()[0].engine.Stats(); stats.PromptTokens < 200 {
			t.Errorf("%s has read %d tokens of prompts only: the test shows little of it", name, stats.PromptTokens)
		}
	}
}

// gateway starts a gateway before the fleet's workers and returns the address of its HTTP API.
func (f *fleet) gateway(t *testing.T) string {
	t.Helper()
	cfg := gateway.Defaults()
	cfg.Addr, cfg.WorkDir = "127.0.0.1:0", t.TempDir()
	g, err := gateway.New(cfg, gateway.Deps{Bus: f.bus, Objects: f.objects, Registry: f.registry, Bucket: "descant", Version: "0.0.0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("gateway: %v", err)
		}
	})
	<-g.Listening()
	return g.URL()
}

// completion asks a gateway as an application does, and returns the status, the text, and which version it is of.
func completion(t *testing.T, url, model string) (status int, text, by string) {
	t.Helper()
	return completionFor(t, url, model, "")
}

// completionFor is completion for a user of the application.
func completionFor(t *testing.T, url, model, user string) (status int, text, by string) {
	t.Helper()
	body := fmt.Sprintf(`{"model":%q,"user":%q,"messages":[{"role":"user","content":%q}],"max_tokens":1,"temperature":0}`, model, user, question)
	answer, err := http.Post(url+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, "", ""
	}
	defer answer.Body.Close()
	var got struct {
		Model   string
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		t.Error(err)
	}
	if len(got.Choices) > 0 {
		text = got.Choices[0].Message.Content
	}
	return answer.StatusCode, text, got.Model
}
