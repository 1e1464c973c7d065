"""Learning rates of transformers' get_scheduler: what a training asks for and the rate of every step."""

import math

import torch
from transformers import get_scheduler

LR = 2e-4

# (lr_scheduler_type, warmup_steps, warmup_ratio, total steps, lr_scheduler_kwargs)
CASES = [
    ("linear", 0, 0.0, 11, {}),
    ("linear", 3, 0.0, 20, {}),
    ("linear", 0, 0.03, 50, {}),
    ("linear", 7, 0.0, 7, {}),
    ("cosine", 0, 0.0, 9, {}),
    ("cosine", 0, 0.03, 50, {}),
    ("cosine", 0, 0.1, 33, {}),
    ("cosine", 2, 0.5, 20, {}),
    ("cosine", 2, 0.0, 20, {"num_cycles": 1.5}),
    ("cosine", 9, 0.0, 5, {}),
    ("cosine_with_min_lr", 0, 0.1, 40, {"min_lr": 1e-5}),
    ("cosine_with_min_lr", 4, 0.0, 21, {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", 0, 0.0, 12, {"min_lr_rate": 0.25, "num_cycles": 1.0}),
    ("constant", 0, 0.0, 6, {}),
    ("constant_with_warmup", 0, 0.15, 10, {}),
    ("constant_with_warmup", 4, 0.0, 10, {}),
    ("warmup_stable_decay", 4, 0.0, 30, {"num_decay_steps": 10}),
    ("warmup_stable_decay", 0, 0.1, 25, {"num_decay_steps": 8, "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", 5, 0.0, 24, {"num_decay_steps": 9, "decay_type": "1-sqrt", "warmup_type": "cosine"}),
    ("warmup_stable_decay", 6, 0.0, 20, {"num_decay_steps": 6, "num_stable_steps": 4, "warmup_type": "1-sqrt", "min_lr_ratio": 0.05}),
    ("warmup_stable_decay", 0, 0.0, 16, {"num_decay_steps": 16, "num_cycles": 1.0}),
]


def rates(kind, warmup, total, kwargs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=dict(kwargs))
    out = []
    for _ in range(total):
        out.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return out


def table():
    """TrainingArguments.get_warmup_steps: the steps where they are set, else the ratio of all steps, rounded up."""
    cases = []
    for kind, steps, ratio, total, kwargs in CASES:
        warmup = steps if steps > 0 else math.ceil(total * ratio)
        cases.append({"lr_scheduler_type": kind, "warmup_steps": steps, "warmup_ratio": ratio, "total": total,
                      "lr_scheduler_kwargs": kwargs, "lr": rates(kind, warmup, total, kwargs)})
    return {"learning_rate": LR, "cases": cases}
