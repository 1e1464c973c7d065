package train

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
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
// rows go in without their padding, and in an order that lines change.
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

// TestEvaluatedLines lays rows of two lengths, of which some have nothing to lose: long ones apart, short ones in few lines,
// and every row's loss is its own, as it is alone.
func TestEvaluatedLines(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	v, err := NewEvaluator(cfg.Device, cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var rows labelled
	for i := range 75 {
		ids, labels := make([]int32, []int{5, 60}[i%5/4]), make([]int32, []int{5, 60}[i%5/4])
		for k := range ids {
			ids[k], labels[k] = int32(1+(7*i+3*k)%70), ignore
			if i%4 > 0 {
				labels[k] = ids[k]
			}
		}
		rows.ids, rows.labels = append(rows.ids, ids), append(rows.labels, labels)
	}
	var lined []int
	losses, err := v.Losses(t.Context(), "", rows, func(rows int) { lined = append(lined, rows) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lined, []int{16, 59}) { // 15 long ones and a short one, and the rest
		t.Errorf("the lines hold %v rows", lined)
	}
	for _, i := range []int{0, 1, 4, 9, 74} {
		alone, err := v.Losses(t.Context(), "", labelled{rows.ids[i : i+1], rows.labels[i : i+1]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := len(rows.ids[i]) - 1
		if i%4 == 0 {
			want = 0
		}
		if losses[i].Tokens != want || alone[0].Tokens != want || math.Abs(losses[i].NLL-alone[0].NLL) > 1e-5*float64(max(1, want)) {
			t.Errorf("row %d lost %+v, alone %+v, expected %d tokens", i, losses[i], alone[0], want)
		}
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
