"""Makes the project's own reference numbers: python generate.py <testdata folder> [case ...].

With names of cases only their folders are written.
"""

import importlib.metadata
import json
import platform
import shutil
import sys
from pathlib import Path

import torch

import combinations
import formats
import models
import pieces
import schedules
import texts

SEED = 1
VERSIONS = ["torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "jinja2"]

# Tolerances that leave a factor of ten or more for another order of summation in float32.
TOLERANCES = {
    "logits": "abs 5e-5",
    "hidden states": "abs 5e-5",
    "token NLL": "abs 5e-5",
    "mean loss": "abs 1e-5",
    "adapter logits": "abs 5e-5",
    "merged logits": "abs 5e-5",
    "merged weights": "abs 1e-6",
    "LoRA gradient, relative L2 per tensor": "rel 3e-5",
    "gradient norm": "rel 1e-5",
    "train: loss per step": "abs 2e-5",
    "train: gradient norm per step": "rel 2e-5",
    "train: final adapter, relative L2 per tensor": "rel 5e-5",
    "train: final loss": "abs 2e-5",
    "full train: first gradient, relative L2 per tensor": "rel 3e-5",
    "full train: loss per step": "abs 2e-5",
    "full train: gradient norm per step": "rel 2e-5",
    "full train: final tensors, relative L2": "rel 5e-5",
    "full train: final loss": "abs 2e-5",
    "sampling probabilities": "abs 1e-5, same kept ids",
    "learning rate": "abs 1e-12",
}


def main():
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if sys.argv[2:]:
        return write_cases(root / "parity", sys.argv[2:])
    folders = [root / name for name in ("parity", "qwen", "optim", "combined", "sentencepiece")]
    parity, qwen, optim, combined, sentencepiece = folders
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    tokenizer = texts.make_tokenizer()
    texts.write_qwen(qwen, tokenizer)
    pieces.write_sentencepiece(sentencepiece)
    cases = {}
    for name, spec in models.SPECS.items():
        print(name, flush=True)
        cases[name] = models.write_case(parity / name, name, spec, SEED)
    texts.write_base_tokenizer(parity / "qwen2-tied", tokenizer, models.SPECS["qwen2-tied"]["vocab"])
    write_optim(optim, parity / "qwen2-untied")
    combinations.write_combinations(combined, parity / "qwen2-untied", SEED)
    sampling = formats.write_sampling(parity, SEED)
    peft = formats.write_peft(parity)
    chat = texts.write_chat_templates(parity / "chat_templates", Path(__file__).parent / "templates")

    versions = {"python": platform.python_version()} | {n: importlib.metadata.version(n) for n in VERSIONS}
    write(parity / "meta.json", {
        "seed": SEED, "versions": versions, "now": texts.NOW, "cases": cases,
        "sampling_records": sampling, "peft_format_records": peft, "chat": chat,
    })
    write(parity / "tolerances.json", {"quantities": {k: {"recommended": v} for k, v in TOLERANCES.items()}})
    size = sum(f.stat().st_size for d in folders for f in d.rglob("*") if f.is_file())
    print(f"{size / 1e6:.2f} MB in {len(folders)} folders of {root}")


def write_cases(parity, names):
    for name in names:
        shutil.rmtree(parity / name, ignore_errors=True)
        models.write_case(parity / name, name, models.SPECS[name], SEED)


def write_optim(folder, case):
    write(folder / "schedules.json", schedules.table())
    models.write_loraplus(folder, case, 16, SEED)


def write(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
