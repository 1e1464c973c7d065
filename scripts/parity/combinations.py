"""Weighted sums of adapters, as PEFT's add_weighted_adapter makes them."""

import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

import models

# Of the case's own adapter and the other one, whose alpha and modules differ.
WEIGHTS = [[1.0, 1.0], [0.7, 0.3]]
OTHER = dict(r=4, lora_alpha=2, target_modules=["v_proj", "o_proj", "down_proj"])


def write_combinations(folder, case, seed):
    """Writes another adapter for a case, and the logits and greedy answers of their sums."""
    gen = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    other = get_peft_model(models.load(case / "base"), LoraConfig(task_type="CAUSAL_LM", **OTHER))
    for key, p in sorted(other.named_parameters()):
        if "lora_" in key:
            p.data = torch.randn(p.shape, generator=gen) * (0.8 / math.sqrt(p.shape[1]) if "lora_A" in key else 0.3)
    models.save_adapter(other, folder / "other", f"{case.name}/base")

    ids, mask = read_batch(case)
    real = mask.unsqueeze(2).float()
    tensors, sums = {}, []
    for i, weights in enumerate(WEIGHTS):
        model = PeftModel.from_pretrained(models.load(case / "base"), case / "adapter", adapter_name="one")
        model.load_adapter(folder / "other", adapter_name="other")
        model.add_weighted_adapter(["one", "other"], weights, "sum", combination_type="linear")
        model.set_adapter("sum")
        model.eval()
        with torch.no_grad():
            tensors[f"right.logits.{i}"] = models.run(model, ids, mask).logits * real
        sums.append({"weights": weights, **greedy(model, gen)})
    save_file(tensors, folder / "forward.safetensors", models.META)
    models.dump(folder / "combinations.json", {"case": case.name, "sums": sums})


def read_batch(case):
    tensors = load_file(case / "forward.safetensors")
    return tensors["right.input_ids"], tensors["right.attention_mask"]


def greedy(model, gen):
    """A prompt whose greedy answer is nowhere close to another one."""
    while True:
        prompt = torch.randint(0, 100, (6,), generator=gen).tolist()
        out = models.greedy(model, prompt)
        if min(out["gap"]) > 5e-3:
            return {"prompt": prompt, "ids": out["ids"], "min_gap": min(out["gap"])}
