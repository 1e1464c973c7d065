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
)

// TestArrangementsGiveTheSameLogits compares matrices that are packed, or cut into three unequal pieces, with plain ones:
// behind a prompt of two chunks, in a batch of four rows, and behind a draft.
func TestArrangementsGiveTheSameLogits(t *testing.T) {
	t.Parallel()
	dev := openDevice(t, device.XLA)
	dir := filepath.Join(t.TempDir(), "base")
	shape := hubtest.Shape{Hidden: 512, Intermediate: 1024, Layers: 2, Heads: 8, KVHeads: 2, Vocab: 3072, MaxPositions: 512}
	if err := hubtest.MakeCheckpoint(dir, "../../models/tiny", shape); err != nil {
		t.Fatal(err)
	}
	plain, names := logitsOf(t, dev, dir, arrangement{widest: 4096})
	if slices.Contains(names, piece("mlp.down_proj.weight", 0)) {
		t.Errorf("matrices are cut: %v", names)
	}
	for name, a := range map[string]arrangement{"packed": fastest(), "cut": {widest: 350}} {
		got, names := logitsOf(t, dev, dir, a)
		text := strings.Join(names, " ")
		switch name {
		case "packed":
			if !model.NewFastCompiler(dev.Backend()).Packs() {
				if !strings.Contains(text, "q_proj.weight[512 512]") {
					t.Errorf("without packed products there is %s", text)
				}
				break
			}
			for _, want := range []string{"self_attn.q_proj+self_attn.k_proj+self_attn.v_proj.weight[12 512 64]", "up_proj.weight[32 512 64]",
				"down_proj.weight[8 1024 64]", "head[48 512 64]"} {
				if !strings.Contains(text, want) {
					t.Errorf("packed: there is no %s among %s", want, text)
				}
			}
		case "cut":
			if !strings.Contains(text, piece("mlp.down_proj.weight", 2)) || strings.Contains(text, piece("mlp.down_proj.weight", 3)) {
				t.Errorf("cut: %s", text)
			}
		}
		for i := range plain {
			var largest, off float64
			for k, want := range plain[i] {
				largest, off = max(largest, math.Abs(float64(want))), max(off, math.Abs(float64(got[i][k]-want)))
			}
			if !(off <= 5e-3*largest) {
				t.Errorf("%s: logits %d are off by %g, the largest is %g", name, i, off, largest)
			}
		}
	}
}

// logitsOf gives the logits of a few steps and the names and shapes of the matrices.
func logitsOf(t *testing.T, dev *device.Device, dir string, a arrangement) (all [][]float32, names []string) {
	t.Helper()
	base, err := model.LoadBF16(dev, dir)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := Options{MaxRows: 4, Slots: -1, DType: BF16, MaxContext: 200}.withDefaults(base.Config)
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
