package generate

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/hub/hubtest"
	"descant/pkg/model"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// TestArrangementsGiveTheSameLogits compares matrices that are packed, or cut into three unequal pieces, with plain ones, and halves with f32:
// behind a prompt of two chunks, in a batch of four rows, and behind a draft.
func TestArrangementsGiveTheSameLogits(t *testing.T) {
	t.Parallel()
	dev := openDevice(t, device.XLA)
	dir := filepath.Join(t.TempDir(), "base")
	shape := hubtest.Shape{Hidden: 512, Intermediate: 1024, Layers: 2, Heads: 8, KVHeads: 2, Vocab: 3072, MaxPositions: 512}
	if err := hubtest.MakeCheckpoint(dir, "../../models/tiny", shape); err != nil {
		t.Fatal(err)
	}
	bf16, names := logitsOf(t, dev, dir, model.LoadBF16On, arrangement{widest: 4096})
	if slices.Contains(names, piece("mlp.down_proj.weight", 0)) {
		t.Errorf("matrices are cut: %v", names)
	}
	f32, _ := logitsOf(t, dev, dir, model.LoadOn, arrangement{})
	packed := []string{"self_attn.q_proj+self_attn.k_proj+self_attn.v_proj.weight[12 512 64]", "up_proj.weight[32 512 64]",
		"down_proj.weight[8 1024 64]", "head[48 512 64]"}
	plain := []string{"q_proj.weight[512 512]"}
	either := func(is bool) []string {
		if is {
			return packed
		}
		return plain
	}
	fast := device.Fastest(dev.Backend())
	for name, c := range map[string]struct {
		load  func(compute.Backend, string) (*model.Model, error)
		a     arrangement
		want  [][]float32
		limit float64 // of the largest logit
		names []string
	}{
		"packed": {model.LoadBF16On, fastest(), bf16, 5e-3, either(device.PacksProducts(fast))},
		"cut":    {model.LoadBF16On, arrangement{widest: 350}, bf16, 5e-3, []string{piece("mlp.down_proj.weight", 2) + "[512 342]"}},
		"halves": {model.LoadHalvesOn, fastest(), f32, 1e-5, either(device.HasHalves(fast))},
	} {
		got, names := logitsOf(t, dev, dir, c.load, c.a)
		text := strings.Join(names, " ")
		for _, want := range c.names {
			if !strings.Contains(text, want) {
				t.Errorf("%s: there is no %s among %s", name, want, text)
			}
		}
		plain, limit := c.want, c.limit
		for i := range plain {
			var largest, off float64
			for k, want := range plain[i] {
				largest, off = max(largest, math.Abs(float64(want))), max(off, math.Abs(float64(got[i][k]-want)))
			}
			if !(off <= limit*largest) {
				t.Errorf("%s: logits %d are off by %g, the largest is %g", name, i, off, largest)
			}
		}
	}
}

// logitsOf gives the logits of a few steps and the names and shapes of the matrices.
func logitsOf(t *testing.T, dev *device.Device, dir string, load func(compute.Backend, string) (*model.Model, error), a arrangement) (all [][]float32, names []string) {
	t.Helper()
	base, err := load(dev.Backend(), dir)
	if err != nil {
		t.Fatal(err)
	}
	dtype := F32
	if base.DType() == dtypes.BFloat16 {
		dtype = BF16
	}
	opts, err := Options{MaxRows: 4, Slots: -1, DType: dtype, MaxContext: 200}.withDefaults(base.Config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newStepper(dev.Backend(), base, opts, a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	<-s.programs.warm
	for _, w := range s.plan.weights {
		names = append(names, w.name+fmt.Sprint(w.shape.Dimensions))
	}
	names = append(names, "head"+fmt.Sprint(s.plan.pieces[0].Dimensions))
	keep := func(logits ...[]float32) {
		for _, l := range logits {
			all = append(all, slices.Clone(l))
		}
	}
	var batch []*sequence
	for row := range 4 {
		seq := &sequence{row: row, req: Request{MaxTokens: 20}}
		for i := range 140 + row {
			seq.ids = append(seq.ids, int32((i*37+row*11)%3000))
		}
		for seq.cached < len(seq.ids) {
			logits, err := s.prefill(seq, 150)
			if err != nil {
				t.Fatal(err)
			}
			if logits != nil {
				keep(logits)
			}
		}
		seq.ids = append(seq.ids, int32(100+row))
		batch = append(batch, seq)
	}
	for _, rows := range []int{1, 4} {
		logits, err := s.decode(batch[:rows], 150)
		if err != nil {
			t.Fatal(err)
		}
		keep(logits...)
		for _, seq := range batch[:rows] {
			seq.ids = append(seq.ids, 7)
		}
	}
	logits, err := s.verify(batch[0], []int32{5, 6, 7}, 150)
	if err != nil || logits == nil {
		t.Fatalf("verify: %v, %v", logits, err)
	}
	keep(logits...)
	return all, names
}
