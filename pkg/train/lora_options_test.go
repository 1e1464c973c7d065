package train

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// options are settings with every option of an adapter set.
func options(t *testing.T, steps int) Config {
	t.Helper()
	cfg := settings(t, steps)
	o := &cfg.Training
	o.TargetModules = job.TargetModules{"q_proj", "v_proj", "mlp.down_proj"}
	o.R, o.LoraDropout, o.UseRSLora, o.InitLoraWeights = 4, 0.2, true, job.InitGaussian
	o.RankPattern = job.Patterns{{Key: `down_proj`, Value: 2}}
	o.AlphaPattern = job.Patterns{{Key: `layers\.\d\.self_attn\.v_proj`, Value: 6}}
	o.LayersToTransform = job.LayerList{1}
	return cfg
}

// TestOptions trains with every option of an adapter, stops in the middle and goes on: the adapter says what was asked
// for, lies where it was asked for, and is the same to the last bit as without the stop. Then another training goes on
// from it.
func TestOptions(t *testing.T) {
	t.Parallel()
	cfg := options(t, 6)
	whole, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if whole.FinalLoss >= whole.FirstLoss {
		t.Errorf("loss went from %g to %g", whole.FirstLoss, whole.FinalLoss)
	}
	checkOptions(t, cfg.BaseDir, whole.AdapterDir)

	again := options(t, 6)
	ctx, stop := context.WithCancelCause(context.Background())
	again.OnStep = func(s Step) {
		if s.Step == 4 {
			stop(ErrStop)
		}
	}
	var stopped *StoppedError
	if _, err := Run(ctx, again); !errors.As(err, &stopped) {
		t.Fatalf("got %v, expected a stop", err)
	}
	again.OnStep, again.Resume = nil, stopped.Dir
	resumed, err := Run(context.Background(), again)
	if err != nil {
		t.Fatal(err)
	}
	weights := read(t, whole.AdapterDir, lora.WeightsFile)
	if !bytes.Equal(weights, read(t, resumed.AdapterDir, lora.WeightsFile)) {
		t.Error("the adapter differs between a whole and a resumed run")
	}

	next := options(t, 1)
	next.Training.InitLoraWeights = job.InitDefault
	next.Training.InitFrom, next.InitFrom = "first@1", whole.AdapterDir
	// The only step is one of the warmup, with a learning rate of 0: what comes out is what went in.
	continued, err := Run(context.Background(), next)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(weights, read(t, continued.AdapterDir, lora.WeightsFile)) {
		t.Error("training did not begin with the adapter of init_from")
	}
	next.Training.R = 8
	if _, err := Run(context.Background(), next); err == nil || !strings.Contains(err.Error(), "r: the adapter of init_from has 4 (found 8)") {
		t.Errorf("an adapter of another rank was taken: %v", err)
	}
	next.InitFrom = t.TempDir()
	if _, err := Run(context.Background(), next); job.AsError("", err).Class != job.User {
		t.Errorf("an empty folder gave %v, expected a user error", err)
	}
}

func checkOptions(t *testing.T, base, dir string) {
	t.Helper()
	cfg, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	// Scales are alpha/√rank: 16/√4, 6/√4 and 16/√2.
	want := "self_attn.q_proj:4:8;self_attn.v_proj:4:3;mlp.down_proj:2:11.31370849898476;"
	if got := a.Signature(1); got != want || a.Size(0) != 0 {
		t.Errorf("layer 1 has %s and layer 0 %d parameters, expected %s and none", got, a.Size(0), want)
	}
	text := string(read(t, dir, lora.ConfigFile))
	for _, want := range []string{`"init_lora_weights": "gaussian"`, "\"layers_to_transform\": [\n    1\n  ]", `"lora_dropout": 0.2`,
		"\"rank_pattern\": {\n    \"down_proj\": 2\n  }", `"use_rslora": true`} {
		if !strings.Contains(text, want) {
			t.Errorf("adapter_config.json lacks %s:\n%s", want, text)
		}
	}
}
