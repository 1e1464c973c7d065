// Package lora puts low-rank adapters on the linear layers of a model from outside: which modules get one and
// how it is scaled, the arithmetic, merging, and the files as PEFT writes and reads them.
//
// With W a base weight, A [r, in] and B [out, r]: y = x·Wᵀ + bias + s·(x·Aᵀ)·Bᵀ, where s is lora_alpha / r, or
// lora_alpha / √r with use_rslora. The reference is peft/tuners/lora/layer.py.
//
// The matrices of one layer travel as one flat float32 array: A and B of each module in the order of
// [model.Config.Projections]. [Plan] knows where each one lies.
package lora
