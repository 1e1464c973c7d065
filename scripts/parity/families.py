"""The model families beside plain Qwen2: small cases, each for what it alone has."""

QV = ["q_proj", "v_proj"]
SMALL = dict(tied=False, store="float32", shards=1, hidden=24, intermediate=40, layers=2, heads=3, kv_heads=3, vocab=72, used=72,
             full_train=None)

SPECS = {
    # Llama 2: no num_key_value_heads, rope_scaling in the oldest spelling; biases everywhere.
    "llama-linear": SMALL | dict(
        family="llama", kv_heads=None,
        config=dict(attention_bias=True, mlp_bias=True, rms_norm_eps=1e-05, rope_scaling={"type": "linear", "factor": 4.0}),
        lora=dict(r=3, lora_alpha=6, target_modules=["q_proj", "o_proj", "down_proj"], init_lora_weights="gaussian"),
        train=dict(lr=0.008, schedule="linear", warmup=2, weight_decay=0.0),
        full_train=dict(lr=0.002, schedule="linear", warmup=1, weight_decay=0.01),
    ),
    # Dynamic NTK: rows up to 16 tokens are as without it, decoding and long_forward go beyond.
    "llama-dynamic": SMALL | dict(
        family="llama", tied=True, kv_heads=1, prompts=[20], long_rows=[30, 19],
        config=dict(max_position_embeddings=16, rope_theta=500.0, rope_scaling={"rope_type": "dynamic", "factor": 4.0}),
        lora=dict(r=2, lora_alpha=4, target_modules=".*\\.(k|v)_proj"),
        train=dict(lr=0.01, schedule="cosine", warmup=0, weight_decay=0.0),
    ),
    "mistral-window": SMALL | dict(
        family="mistral", layout="hf5", heads=4, kv_heads=2, prompts=[40], config=dict(sliding_window=5, rms_norm_eps=1e-05),
        lora=dict(r=4, lora_alpha=4, target_modules=QV + ["up_proj"], rank_pattern={"up_proj": 2}, alpha_pattern={"v_proj": 12}),
        train=dict(lr=0.01, schedule="cosine", warmup=2, weight_decay=0.01),
    ),
    "qwen2-window": SMALL | dict(
        tied=True, heads=2, kv_heads=1, prompts=[40], config=dict(use_sliding_window=True, sliding_window=6, max_window_layers=1),
        lora=dict(r=2, lora_alpha=2, target_modules=QV, layers_to_transform=[1]),
        train=dict(lr=0.01, schedule="linear", warmup=1, weight_decay=0.0),
        full_train=dict(lr=0.002, schedule="cosine", warmup=2, weight_decay=0.01),
    ),
    "qwen3-window": SMALL | dict(
        family="qwen3", layout="hf4.56", kv_heads=1, head_dim=12, prompts=[40],
        config=dict(attention_bias=True, use_sliding_window=True, sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
        lora=dict(r=2, lora_alpha=6, target_modules="all-linear"),
        train=dict(lr=0.006, schedule="linear", warmup=2, weight_decay=0.01),
    ),
}

CLASSES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM"}


def config_json(s):
    """config.json with the fields of the published repositories, in the layout that the spec names."""
    family = s.get("family", "qwen2")
    fields = {
        "architectures": [CLASSES[family]], "attention_dropout": 0.0, "bos_token_id": s["used"] - 22, "eos_token_id": s["used"] - 20,
        "hidden_act": "silu", "hidden_size": s["hidden"], "initializer_range": 0.02, "intermediate_size": s["intermediate"],
        "max_position_embeddings": 32768, "model_type": family, "num_attention_heads": s["heads"], "num_hidden_layers": s["layers"],
        "rms_norm_eps": 1e-06, "tie_word_embeddings": s["tied"], "torch_dtype": s["store"], "transformers_version": "4.43.1",
        "use_cache": True, "vocab_size": s["vocab"],
    }
    if s["kv_heads"]:
        fields["num_key_value_heads"] = s["kv_heads"]
    if "head_dim" in s:
        fields["head_dim"] = s["head_dim"]
    if family in ("qwen2", "qwen3"):
        fields |= {"max_window_layers": 21, "rope_theta": 1000000.0, "sliding_window": 32768, "use_sliding_window": False}
    fields |= s.get("config", {})
    layout = s.get("layout", "hf4")
    if layout != "hf4":
        fields["dtype"] = fields.pop("torch_dtype")
        fields["transformers_version"] = {"hf4.56": "4.56.1", "hf5": "5.23.0"}[layout]
    if layout == "hf5":
        fields["rope_parameters"] = {"rope_theta": fields.pop("rope_theta", 10000.0), "rope_type": "default"}
    return dict(sorted(fields.items()))
