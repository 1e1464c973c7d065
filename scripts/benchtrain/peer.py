"""Trains a LoRA adapter with PyTorch, transformers and PEFT on the rows of a job file and prints what it took as JSON.

The loop is the least that a trainer does: AdamW on the adapter, gradient clipping by norm 1, the loss over all labelled
tokens. Everything that TRL's SFTTrainer adds on top of it costs this peer nothing.
"""

import json
import resource
import sys
import time

start = time.time()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def tensors(micro):
    """A micro-batch as TRL's collators make it: padded on the right to the longest row, or packed into one row whose
    positions begin anew with every document, which transformers' attention mask keeps apart."""
    if micro.get("packed"):
        ids = [i for row in micro["rows"] for i in row]
        labels = [label for row in micro["rows"] for label in [-100] + row[1:]]
        positions = [p for row in micro["rows"] for p in range(len(row))]
        return {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]), "position_ids": torch.tensor([positions])}
    width = max(len(row) for row in micro["rows"])
    ids = [row + [0] * (width - len(row)) for row in micro["rows"]]
    labels = [row + [-100] * (width - len(row)) for row in micro["rows"]]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in micro["rows"]]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels), "attention_mask": torch.tensor(mask)}


def main():
    job = json.load(open(sys.argv[1]))
    begun = job["begun"]
    torch.manual_seed(42)
    torch.set_num_threads(job["threads"])
    bf16 = job["dtype"] == "bf16"
    model = AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=torch.bfloat16 if bf16 else torch.float32, attn_implementation="sdpa"
    )
    model.config.use_cache = False
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=LINEAR, task_type="CAUSAL_LM"))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4, weight_decay=0.0)
    tokens, seconds, first, losses = 0, 0.0, 0.0, []
    for step, micro in enumerate(job["steps"]):
        at = time.time()
        batch = tensors(micro)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step == 0:
            first = time.time() - begun
        else:
            seconds += time.time() - at
            tokens += sum(len(row) for row in micro["rows"])
    print(json.dumps({"tokens": tokens, "seconds": seconds, "first_step_seconds": first,
                      "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "losses": losses}))


main()
