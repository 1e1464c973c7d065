package model

import (
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"
	"descant/pkg/hub/hubtest"

	"github.com/gomlx/compute/dtypes"
)

// TestWhereHalvesFit loads bases in halves: those that cannot be are f32, as is every base on a device without the kernels.
func TestWhereHalvesFit(t *testing.T) {
	t.Parallel()
	xla, pure := devicetest.Open(t, device.XLA), devicetest.Open(t, device.Go)
	inHalves := Halves
	if !device.HasHalves(device.Fastest(xla.Backend())) {
		inHalves = dtypes.Float32
	}
	shape := hubtest.Shape{Hidden: 64, Intermediate: 128, Layers: 1, Heads: 4, KVHeads: 4, Vocab: 3072, MaxPositions: 64}
	odd := shape
	odd.Vocab++
	for name, c := range map[string]struct {
		dev   *device.Device
		shape hubtest.Shape
		want  dtypes.DType
	}{
		"stored in bf16":        {xla, shape, inHalves},
		"no multiple of 64":     {xla, odd, dtypes.Float32},
		"device without kernel": {pure, shape, dtypes.Float32},
	} {
		dir := filepath.Join(t.TempDir(), "base")
		if err := hubtest.MakeCheckpoint(dir, "../../models/tiny", c.shape); err != nil {
			t.Fatal(err)
		}
		m, err := LoadHalvesOn(c.dev.Backend(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for layer, tensors := range append(m.Layers, []*Array{m.Embed, m.Head}) {
			for i, a := range tensors {
				want := c.want
				if a.Shape().Rank() == 1 {
					want = dtypes.Float32
				}
				if a.Shape().DType != want {
					t.Errorf("%s: array %d of layer %d is %s, want %s", name, i, layer, a.Shape(), want)
				}
			}
		}
		m.Close()
	}
	m, err := LoadHalvesOn(xla.Backend(), "../../models/tiny")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.DType() != dtypes.Float32 {
		t.Errorf("a base stored in %s is in %s", m.Config.Stored, m.DType())
	}
}
