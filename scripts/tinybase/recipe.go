package main

import "descant/scripts/tinybase/world"

// shape is the architecture of the tiny base.
type shape struct {
	hidden, layers, heads, kvHeads, intermediate int
	maxPositions                                 int
	ropeTheta, epsilon                           float64
}

// phase is one training run; each goes on from the weights of the one before with other rows.
type phase struct {
	seed          uint64 // of the rows
	shares        world.Shares
	rows          int
	steps, warmup int
	rate          float64 // peak learning rate, cosine to zero
	decay         float64 // weight decay
}

// recipe is everything that decides the result beside the other seeds.
var recipe = struct {
	shape     shape
	maxLength int // in tokens; longer rows are left out
	// batch rows make a step, microBatch of them, of similar lengths, pass the layers together.
	batch, microBatch int
	beta2             float64 // AdamW; below the default since the run is short
	phases            []phase
	took              string // for the card: how long the runs took that made the committed weights
}{
	shape:     shape{hidden: 192, layers: 4, heads: 6, kvHeads: 2, intermediate: 512, maxPositions: 1024, ropeTheta: 10000, epsilon: 1e-6},
	maxLength: 96,
	batch:     32, microBatch: 16,
	beta2: 0.98,
	took:  "The runs that made these weights took 33 minutes in all, on two cores that were also busy with other work.",
	phases: []phase{
		{seed: trainSeed, shares: world.Balanced, rows: 180_000, steps: 5500, warmup: 200, rate: 3e-3},
		{seed: trainSeed + 100, shares: world.Hard, rows: 160_000, steps: 4800, warmup: 150, rate: 2.5e-3, decay: 0.1},
		{seed: trainSeed + 200, shares: world.Wide, rows: 75_000, steps: 2200, warmup: 100, rate: 1.5e-3},
		{seed: trainSeed + 300, shares: world.Wider, rows: 32_000, steps: 950, warmup: 50, rate: 1.2e-3},
	},
}
