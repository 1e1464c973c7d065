package inference

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

func TestSettingsOfTheEngine(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.WorkDir = t.TempDir()
	if got, want := cfg.engineOptions(9), (generate.Options{MaxRows: 8, Slots: 16, MaxRank: 8, UsedVocab: 9, DType: generate.F32, LoraDType: generate.F32, DraftTokens: 7}); got != want {
		t.Errorf("usually %+v, want %+v", got, want)
	}
	cfg.DType, cfg.PrefixCache, cfg.DraftTokens = "bf16", 0, 3
	if got := cfg.engineOptions(9); got.DType != generate.BF16 || got.LoraDType != generate.BF16 || got.PrefixCache != -1 || got.DraftTokens != 3 {
		t.Errorf("otherwise %+v", got)
	}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		dtype, adapters string
		rounds          bool
	}{{"auto", "f32", false}, {"auto", "bf16", true}, {"bf16", "f32", true}} {
		cfg.DType, cfg.LoraDType = c.dtype, c.adapters
		if got := cfg.engineOptions(9); got.LoraDType != c.adapters || cfg.rounds() != c.rounds {
			t.Errorf("%+v: %+v, rounds: %v", c, got, cfg.rounds())
		}
	}
	cfg.DType, cfg.LoraDType, cfg.Speculation, cfg.DraftTokens = "f16", "f8", "yes", 16
	err := cfg.Validate()
	for _, want := range []string{`dtype is "f16"`, `lora_dtype is "f8"`, `speculation is "yes"`, "draft_tokens is 16: use 1 to 15"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say that %s", err, want)
		}
	}
}

// TestSettingsReachTheEngine asks the same repetitive question twice of bases with and without a prefix cache and drafts.
func TestSettingsReachTheEngine(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change          func(*Config)
		cached, drafted bool
	}{
		"with":    {func(c *Config) { c.Speculation = speculationOn }, true, true},
		"without": {func(c *Config) { c.Speculation, c.PrefixCache = speculationOff, 0 }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Defaults()
			cfg.WorkDir, cfg.MaxContext, cfg.MaxRows, cfg.Slots = t.TempDir(), 256, 1, 1
			c.change(&cfg)
			s, err := New(cfg, Deps{Worker: "w", Device: dev, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.open(t.Context(), registry.Base{Ref: "builtin:tiny", Dir: tinyDir})
			if err != nil {
				t.Fatal(err)
			}
			defer m.close()
			if err := m.engine.Warm(t.Context()); err != nil { // drafts need a program of their own
				t.Fatal(err)
			}
			for range 2 {
				req := &pb.ChatRequest{Text: ptr(strings.Repeat("one two three. ", 10)), MaxTokens: 30, Temperature: ptr(0.0)}
				q, err := s.prepare(target{model: m}, req, nil, nil)
				if err == nil {
					err = s.generate(t.Context(), target{model: m}, req, q, func(*pb.ChatChunk) error { return nil })
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if stats := m.engine.Stats(); (stats.CachedTokens > 0) != c.cached || (stats.DraftedTokens > 0) != c.drafted {
				t.Errorf("%d tokens from the cache, %d drafted", stats.CachedTokens, stats.DraftedTokens)
			}
		})
	}
}

// TestWorkerInBF16 serves from a base in bf16, and with adapters in bf16 on one in f32: an adapter whose probe was computed in f32 comes to be ready and
// answers, one with a wrong probe does not, and requests are answered.
func TestWorkerInBF16(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"base": func(c *Config) { c.DType = "bf16" }, "adapters": func(c *Config) { c.LoraDType = "bf16" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			workerInBF16(t, change)
		})
	}
}

func workerInBF16(t *testing.T, change func(*Config)) {
	f := fleetOn(t, device.XLA)
	reference, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	f.maker = newMaker(t, reference, f.base)
	f.worker(t, "w-1", f.registry, func(c *Config) { c.MaxRows, c.Slots = 1, 1; change(c) })
	good, answer := f.publish(t, "good", 10, nil)
	f.until(t, "w-1", good.Version.GetDigest(), stateReady)
	f.wants(t, "good", answer)
	bad, _ := f.publish(t, "bad", 11, func(m *pb.AdapterManifest) { m.Probe.Logits[0] *= 1.2 })
	if at := f.until(t, "w-1", bad.Version.GetDigest(), stateFailed); !strings.Contains(at.GetReason(), "is not what was trained") {
		t.Errorf("failed because %s", at.GetReason())
	}
	logits, err := f.maker.engine.Probe(t.Context(), "", f.maker.prompt)
	if err != nil {
		t.Fatal(err)
	}
	best := slices.Index(logits, slices.Max(logits))
	f.wants(t, f.base.Ref, f.maker.text.tokenizer.Decode([]int32{int32(best)}, true))
}
