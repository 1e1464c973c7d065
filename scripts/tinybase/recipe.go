package main

// shape is the architecture of the tiny base.
type shape struct {
	hidden, layers, heads, kvHeads, intermediate int
	maxPositions                                 int
	ropeTheta, epsilon                           float64
}

// recipe is everything that decides the result beside the seeds.
var recipe = struct {
	shape     shape
	rows      int // training rows
	maxLength int // in tokens; longer rows are left out
	// batch rows make a step, microBatch of them a rectangle of similar lengths.
	batch, microBatch int
	steps, warmup     int
	rate              float64 // peak learning rate, cosine to zero
	beta2             float64 // AdamW; below the default since the run is short
	took              string  // for the card: how long the run took that made the committed weights
}{
	shape: shape{hidden: 192, layers: 4, heads: 6, kvHeads: 2, intermediate: 512, maxPositions: 1024, ropeTheta: 10000, epsilon: 1e-6},
	rows:  125_000, maxLength: 96,
	batch: 48, microBatch: 16,
	steps: 2600, warmup: 130,
	rate: 3e-3, beta2: 0.98,
}
