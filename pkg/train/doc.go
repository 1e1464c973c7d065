// Package train fine-tunes a model: a LoRA adapter on a frozen base, or all of its parameters. It knows
// neither queue nor object store.
//
// A step runs as programs per layer, looped in Go: all layers of one shape share one compiled program, the
// weights are inputs of it, and nothing compiles in steady state. The forward pass of a layer saves what lies
// between its stages; the backward pass takes it from there stage by stage, so that no frozen product is
// computed twice:
//
//	embed ─▶ layer 0 ─▶ … ─▶ layer n-1 ─▶ trained places ─▶ norm, head, cross-entropy and its gradient
//	 ▲          │ saved                       │                       │
//	 └── layer 0 backward ◀─ … ◀─ layer n-1 backward ◀─ spread ◀──────┘
//
// The loss is the sum over the trained tokens of all micro-batches of a step divided by their number.
// Everything that decides a number (order, initialisation, dropout) follows from the seed and the step, so a
// run that continues from a checkpoint gives the same bits as one that was never stopped.
//
// The reference is transformers' Trainer with torch.optim.AdamW and torch.nn.utils.clip_grad_norm_.
package train
