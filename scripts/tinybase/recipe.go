package main

// shape is the architecture of the tiny base.
type shape struct {
	hidden, layers, heads, kvHeads, intermediate int
	maxPositions                                 int
	ropeTheta, epsilon                           float64
}

// recipe is everything that decides the result beside the seeds.
var recipe = struct {
	shape shape
	rows  int // training rows, each seen once in an epoch
	batch int
	steps int
	rate  float64 // peak learning rate, cosine to zero
}{
	shape: shape{hidden: 192, layers: 4, heads: 6, kvHeads: 2, intermediate: 512, maxPositions: 1024, ropeTheta: 10000, epsilon: 1e-6},
	rows:  160_000,
	batch: 32,
	steps: 8000,
	rate:  3e-3,
}
