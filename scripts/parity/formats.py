"""Sampling probabilities, and the files that PEFT writes."""

import json
import struct
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.generation.logits_process import (
    MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)

PROCESSORS = {
    "repetition_penalty": RepetitionPenaltyLogitsProcessor, "temperature": TemperatureLogitsWarper, "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper,
}
SETTINGS = [
    {}, {"temperature": 0.7}, {"temperature": 1.5}, {"top_k": 1}, {"top_k": 5}, {"top_p": 0.01}, {"top_p": 0.8}, {"min_p": 0.1},
    {"repetition_penalty": 1.3}, {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1},
    {"temperature": 1.2, "top_k": 10, "min_p": 0.05},
]


def write_sampling(root, seed):
    gen = torch.Generator().manual_seed(seed)
    plain = 1.5 * torch.randn(32, generator=gen)
    ties = (plain * 2).round() / 2
    vectors = {"plain": plain, "ties": ties, "large": plain * 40}
    seen = {k: torch.randint(0, 32, (8,), generator=gen).tolist() for k in vectors}
    cases = []
    for name, logits in vectors.items():
        for settings in SETTINGS:
            if name == "ties" and "top_p" in settings:
                continue
            scores = logits[None].clone()
            used = [cls(settings[k]) for k, cls in PROCESSORS.items() if k in settings]
            if "top_p" in settings and close_to_threshold(scores, used, settings["top_p"], seen[name]):
                raise SystemExit(f"sampling: {name} {settings}: a cumulative probability lies on the threshold; change the seed")
            for p in used:
                scores = p(torch.tensor([seen[name]]), scores)
            probs = torch.softmax(scores, -1)[0]
            kept = torch.isfinite(scores[0]).nonzero().flatten()
            cases.append({"vector": name, "settings": settings, "processors": [type(p).__name__ for p in used],
                          "kept": kept.tolist(), "probs": probs[kept].tolist()})
    dump(root / "sampling.json", {
        "vectors": {k: {"logits": v.tolist(), "input_ids": seen[k]} for k, v in vectors.items()}, "cases": cases})
    return len(cases)


def close_to_threshold(scores, used, top_p, seen):
    for p in used:
        if isinstance(p, TopPLogitsWarper):
            break
        scores = p(torch.tensor([seen]), scores)
    cumulative = torch.softmax(scores, -1).sort(descending=True).values.cumsum(-1)
    return bool(((cumulative - top_p).abs() < 1e-5).any())


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def write_peft(root):
    configs = [
        ("qv-r8", "qwen2-tied", "float32", "CAUSAL_LM", dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
        ("all-linear-r4", "qwen2-untied", "float32", "CAUSAL_LM", dict(r=4, lora_alpha=8, target_modules="all-linear")),
        ("all-linear-tied", "qwen2-tied", "float32", "CAUSAL_LM", dict(r=2, lora_alpha=4, target_modules="all-linear")),
        ("rslora", "qwen2-tied", "float32", "CAUSAL_LM", dict(r=4, lora_alpha=8, target_modules=["o_proj"], use_rslora=True)),
        ("bf16-base", "qwen2-untied", "bfloat16", "CAUSAL_LM", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
        ("patterns", "llama-linear", "float32", "CAUSAL_LM", dict(
            r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.1,
            rank_pattern={"down_proj": 3, "layers.0.self_attn.q_proj": 5}, alpha_pattern={"v_proj": 4, r"1\.mlp\..*": 2.5})),
        ("layers-gaussian", "mistral-window", "float32", "CAUSAL_LM", dict(
            r=2, lora_alpha=2, target_modules=["up_proj", "self_attn.k_proj"], layers_to_transform=[1], init_lora_weights="gaussian")),
        ("regex", "qwen3-window", "float32", "CAUSAL_LM", dict(r=2, lora_alpha=3.5, target_modules=r".*\.1\.mlp\.(gate|down)_proj")),
        ("one-layer", "qwen2-window", "float32", "CAUSAL_LM", dict(r=2, lora_alpha=2, target_modules=["o_proj"], layers_to_transform=0)),
        ("no-task-type", "qwen2-tied", "float32", None, dict(r=1, lora_alpha=1, target_modules=["o_proj"])),
    ]
    cases = []
    for name, base, dtype, task, config in configs:
        model = AutoModelForCausalLM.from_pretrained(root / base / "base", dtype=getattr(torch, dtype))
        peft = get_peft_model(model, LoraConfig(task_type=task, **config))
        peft.peft_config["default"].base_model_name_or_path = "org/tiny-base"
        with tempfile.TemporaryDirectory() as tmp:
            peft.save_pretrained(tmp)
            cases.append({"name": name, "base": f"{base}/base", "base_dtype": dtype, "lora_config": config, "task_type": task}
                         | describe(Path(tmp)))
    dump(root / "peft_format.json", {"peft_version": cases[0]["adapter_config"]["peft_version"], "cases": cases})
    return len(cases)


def describe(folder):
    data = (folder / "adapter_model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    meta = header.pop("__metadata__")
    text = (folder / "adapter_config.json").read_text()
    return {
        "files": sorted(f.name for f in folder.iterdir()),
        "tensors": [{"key": k, "dtype": header[k]["dtype"], "shape": header[k]["shape"]} for k in sorted(header)],
        "order_in_file": sorted(header, key=lambda k: header[k]["data_offsets"][0]), "metadata": meta, "header_bytes": size,
        "file_bytes": len(data), "adapter_config": json.loads(text), "adapter_config_text": text}
