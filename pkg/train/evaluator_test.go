package train

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model/modeltest"
)

// labelled are rows with labels of their own.
type labelled struct{ ids, labels [][]int32 }

func (l labelled) Len() int                        { return len(l.ids) }
func (l labelled) Row(i int) (ids, labels []int32) { return l.ids[i], l.labels[i] }
func (l labelled) Order(int64, int) []int          { return nil }

// TestParityEvaluator compares the losses of rows with those of transformers, and that of an adapter with PEFT's. The
// rows go in without their padding, and in an order that rectangles change.
func TestParityEvaluator(t *testing.T) {
	forEach(t, "loss.json", func(t *testing.T, dev *device.Device, c modeltest.Case) {
		var want struct {
			Variants map[string]struct {
				Labels       [][]int32 `json:"labels"`
				NLLPerRow    []float64 `json:"nll_sum_per_row"`
				TokensPerRow []int     `json:"tokens_per_row"`
			} `json:"variants"`
		}
		c.JSON(t, "loss.json", &want)
		var grads struct {
			NLL    float64 `json:"nll_sum"`
			Tokens int     `json:"tokens"`
		}
		c.JSON(t, "grads.json", &grads)
		v, err := NewEvaluator(dev, c.Base())
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		measure := func(variant, adapter string) []RowLoss {
			rows := 0
			losses, err := v.Losses(t.Context(), adapter, unpadded(t, c, want.Variants[variant].Labels), func(n int) { rows += n })
			if err != nil {
				t.Fatal(err)
			}
			if rows != len(losses) {
				t.Errorf("progress counted %d rows of %d", rows, len(losses))
			}
			return losses
		}
		for name, variant := range want.Variants {
			for i, got := range measure(name, "") {
				if got.Tokens != variant.TokensPerRow[i] {
					t.Errorf("%s: row %d has %d tokens, expected %d", name, i, got.Tokens, variant.TokensPerRow[i])
				}
				modeltest.NearNumber(t, name+" row", got.NLL, variant.NLLPerRow[i], meanLossLimit*float64(max(1, got.Tokens)))
			}
		}
		total := RowLoss{}
		for _, got := range measure("completion", filepath.Join(c.Dir, "adapter")) {
			total.NLL, total.Tokens = total.NLL+got.NLL, total.Tokens+got.Tokens
		}
		if total.Tokens != grads.Tokens {
			t.Errorf("%d tokens, expected %d", total.Tokens, grads.Tokens)
		}
		modeltest.NearNumber(t, "adapter", total.NLL/float64(total.Tokens), grads.NLL/float64(grads.Tokens), meanLossLimit)
	})
}

// unpadded are the rows of a case's batch, each with its own length.
func unpadded(t *testing.T, c modeltest.Case, labels [][]int32) Rows {
	t.Helper()
	batch := c.Tensors(t, "forward.safetensors").Batch(t, "right")
	var rows labelled
	for i := range batch.Rows {
		n := 0
		for n < batch.Width && batch.Valid[i*batch.Width+n] {
			n++
		}
		rows.ids = append(rows.ids, batch.IDs[i*batch.Width:i*batch.Width+n])
		rows.labels = append(rows.labels, labels[i][:n])
	}
	return rows
}

// TestRectangles lays rows of two lengths.
func TestRectangles(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	v, err := NewEvaluator(cfg.Device, cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var rows table
	for i := range 75 {
		rows = append(rows, make([]int32, []int{5, 60}[i%5/4]))
	}
	list, err := v.rectangles(rows)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, r := range list {
		if r.rows*r.width != evaluatedTokens || len(r.of) > r.rows {
			t.Errorf("%d rows in a rectangle of %d × %d", len(r.of), r.rows, r.width)
		}
		for _, i := range r.of {
			seen[i] = true
			if length := len(rows[i]); (r.width == 64) != (length == 60) {
				t.Errorf("a row of %d tokens lies in a width of %d", length, r.width)
			}
		}
	}
	if len(list) != 2 || len(seen) != 75 {
		t.Errorf("%d rectangles hold %d rows, expected 2 and 75", len(list), len(seen))
	}
}

func TestEvaluatorStops(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	v, err := NewEvaluator(cfg.Device, cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := v.Losses(ctx, "", sentences(3), nil); !errors.Is(err, cause) {
		t.Errorf("got %v, expected %v", err, cause)
	}
}
