package train

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"
)

// Tolerances of bf16. Rounding to 8 bits errs by up to 2⁻⁹ (0.2 %) of a value and by 0.11 % in the mean, for both
// operands of a product; the errors of a sum of products are independent, so a product is off by about 0.16 % of
// its norm. The two or three layers of a case chain some twenty of them, forward and backward, and the weights
// that the files hold in f32 are rounded too: √20 · 0.16 % ≈ 0.7 % of the gradient is the least to expect. Measured
// are 0.7 % to 3.3 %, the most on llama-dynamic, for a reason that has not been looked into; a missing or misplaced term shows as tens of per cent.
// The gradient is compared as one vector: parts of it (q_proj, k_proj) go through the derivative of the softmax, a difference of
// nearly equal numbers, and where such a part is small its own relative error says nothing. A loss is a mean over
// tokens of logits whose errors have both signs.
const (
	bf16GradientLimit = 5e-2
	bf16LossLimit     = 1e-2
)

// TestParityBF16 compares loss and gradients of a base in bf16 with the reference in f32, on every case.
func TestParityBF16(t *testing.T) {
	t.Parallel()
	dev := open(t, device.XLA)
	for _, c := range modeltest.Cases(t, "train.json") {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			m, err := model.LoadBF16(dev, c.Base())
			if err != nil {
				t.Fatal(err)
			}
			a, err := lora.Load(m.Config, filepath.Join(c.Dir, "adapter"))
			if err != nil {
				t.Fatal(err)
			}
			e, err := newLoraEngine(m, model.NewCompiler(dev.Backend()), a, adamW{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			batch := c.Tensors(t, "forward.safetensors").Batch(t, "right")
			checkGradients(t, e, c, batch, batch.Width, bf16LossLimit, bf16GradientLimit)
			reference := c.Tensors(t, "grads.safetensors")
			var got, want []float32
			for _, tensor := range a.Tensors(download(t, e.layers, (*group).gradient)) {
				values, err := safetensors.DecodeFloat32(tensor.DType, tensor.Data)
				if err != nil {
					t.Fatal(err)
				}
				got, want = append(got, values...), append(want, reference.F32(t, tensor.Name)...)
			}
			modeltest.Close(t, "gradient", got, want, bf16GradientLimit)
			t.Logf("relative distance of the gradient %.4f", modeltest.Distance(got, want))
		})
	}
}

// TestBF16 trains with a base in bf16: it must be announced that its weights are rounded, the loss must follow that
// of f32, and a resumed run must give the same adapter to the last bit.
func TestBF16(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 6)
	cfg.Device = open(t, device.XLA)
	cfg.Training.LoraDropout = 0.1
	exact, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cfg.Training.DType, cfg.Dir, cfg.Logger = job.DTypeBF16, t.TempDir(), slog.New(slog.NewTextHandler(&log, nil))
	whole, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "matrices were rounded") {
		t.Errorf("the log does not say that the weights were rounded:\n%s", &log)
	}
	modeltest.NearNumber(t, "first loss", whole.FirstLoss, exact.FirstLoss, bf16LossLimit)
	modeltest.NearNumber(t, "final loss", whole.FinalLoss, exact.FinalLoss, 5*bf16LossLimit)
	if whole.FirstLoss == exact.FirstLoss {
		t.Error("bf16 gives the same loss as f32: is it in use?")
	}

	cfg.Dir = t.TempDir()
	ctx, stop := context.WithCancelCause(context.Background())
	cfg.OnStep = func(s Step) {
		if s.Step == 2 {
			stop(ErrStop)
		}
	}
	_, err = Run(ctx, cfg)
	var stopped *StoppedError
	if !errors.As(err, &stopped) {
		t.Fatalf("got %v, expected a stop", err)
	}
	cfg.OnStep, cfg.Resume = nil, stopped.Dir
	resumed, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, whole.AdapterDir, lora.WeightsFile), read(t, resumed.AdapterDir, lora.WeightsFile)) {
		t.Error("the adapter of a resumed run differs")
	}
}

func TestBF16Refused(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	cfg.Training.DType = job.DTypeBF16
	if _, err := Run(context.Background(), cfg); !errors.Is(err, model.ErrNoBF16) {
		t.Errorf("pure Go: got %v", err)
	}
	cfg.Device, cfg.Training.Method = open(t, device.XLA), job.MethodFull
	if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "method full trains them all, in f32") {
		t.Errorf("method full: got %v", err)
	}
}

func open(t *testing.T, kind string) *device.Device {
	t.Helper()
	dev, err := device.Open(kind)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}
