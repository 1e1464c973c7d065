// Package model is the arithmetic of decoder-only transformers (Qwen2, Qwen3, Llama, Mistral) as GoMLX
// graph functions, and the loading of their weights. It knows nothing of LoRA: whoever wants other linear
// layers passes a [Linear].
//
// A decoder layer is a chain of stages, so that training can save what lies between them and serving can
// put a key/value cache between them:
//
//	x ─▶ QKV ─▶ q,k,v ─▶ Rotate, Attend ─▶ attention ─▶ Output ─▶ residual ─▶ GateUp ─▶ gate,up ─▶ Down ─▶ x'
//
// All arithmetic is in float32. Weights stored as bfloat16 or float16 are converted exactly when loaded.
// Linear weights lie in memory as [in, out], transposed from the files' [out, in]: XLA's float32 kernels on
// CPUs are several times faster on it for 2 to 64 rows.
//
// The reference is transformers' modeling_qwen2.py, modeling_qwen3.py, modeling_llama.py and
// modeling_mistral.py with eager attention, and modeling_rope_utils.py.
package model
