// Package generate is the inference engine: a base model, adapters that come and go while it runs, and a loop that
// serves many requests in one batch. It works on token ids only; text, templates and transport are other packages'.
//
// # The loop
//
// One goroutine owns the device. Each turn of it does
//
//	orders ──► admit ──► prefill one chunk ──► decode all rows ──► sample ──► deliver
//	(load or    (queue     (the shortest rest    (one token each,    (on the     (to the goroutine
//	 unload an   → free     of a prompt)          one batch)          CPU, per    of the request)
//	 adapter)    row)                                                 request)
//
// so a long prompt never stops the rows that are already talking, and an adapter changes only between two steps.
//
// # Adapters
//
// The A and B matrices of all loaded adapters lie side by side as columns of one matrix per layer; every row knows the range of its own
// adapter's columns:
//
//	y = x·W + (x·A[own])·B[own]      A: [columns, in]   B: [columns, out], B already times alpha/r
//
// A row without an adapter has an empty range: it gets exactly the base. The columns of an adapter are wiped before it is
// written. A batch in which nobody has an adapter runs graphs that know of none. Rows of different adapters share a batch. No
// row's arithmetic touches another row's numbers; which program computes it (one row's, the batch's, a chunk's) moves
// logits by rounding only: below 1e-5 in f32 and 2e-2 in bf16 on the models of the tests.
//
// On a CPU a kernel takes each row's own columns (device.WithKernels). Elsewhere products for all rows
// and columns do it, of which a mask keeps each row's own; those for a single adapter take only a slice of the columns.
//
// # Memory
//
// Weights are inputs of the executables, never constants, and one executable per shape serves all layers (that of a single token
// runs a few of them at once). The
// rows of the embedding are gathered by a program of their own. Keys and values live in buffers that Go writes in
// place where the device shares its memory, and that the layer's executable returns updated where it does not.
//
// All shapes are fixed: rows in a few counts, prompts in chunks of two lengths, the context in a few sizes. After
// [Engine.Warm] nothing compiles any more.
//
// Blocks of keys and values outlive their rows in the prefix cache, by the digest of the adapter.
package generate
