package gguf

import (
	"fmt"

	"descant/pkg/model"
)

// architecture is llama.cpp's name of a model family.
func architecture(cfg *model.Config) (string, error) {
	switch cfg.Family {
	case "llama", "mistral":
		return "llama", nil
	case "qwen2", "qwen3":
		return cfg.Family, nil
	}
	return "", fmt.Errorf("model_type %q cannot be exported to GGUF: llama, mistral, qwen2 and qwen3 can", cfg.Family)
}

// layerNames maps the names of tensors within a layer, without .weight and .bias, to llama.cpp's.
func layerNames() map[string]string {
	return map[string]string{
		"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
		"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
		"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
		"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	}
}

// rowOrder tells in which order llama.cpp wants the rows of a projection: row i of the file is row order(i) of the
// checkpoint. It is nil where the order stays. llama.cpp's llama rotates neighbouring elements of a head where
// transformers rotates an element of the first half with one of the second, so the rows of q and k interleave the
// two halves of every head (LlamaModel.permute of the converter).
func rowOrder(arch, local string, headDim int) func(row int) int {
	if arch != "llama" || local != "self_attn.q_proj" && local != "self_attn.k_proj" {
		return nil
	}
	return func(row int) int {
		head, at := row/headDim, row%headDim
		return head*headDim + at%2*(headDim/2) + at/2
	}
}
