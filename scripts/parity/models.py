"""Tiny models and everything that transformers and PEFT compute with them."""

import hashlib
import json
import math

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import families

QV = ["q_proj", "v_proj"]
SPECS = {
    "qwen2-tied": dict(
        tied=True, store="float32", shards=1, hidden=32, intermediate=80, layers=2, heads=4, kv_heads=2, vocab=384, used=366,
        lora=dict(r=8, lora_alpha=16, target_modules=QV),
        train=dict(lr=0.01, schedule="linear", warmup=3, weight_decay=0.0),
        full_train=dict(lr=0.002, schedule="cosine", warmup=2, weight_decay=0.01),
    ),
    "qwen2-untied": dict(
        tied=False, store="bfloat16", shards=2, hidden=48, intermediate=96, layers=2, heads=6, kv_heads=2, vocab=160, used=160,
        lora=dict(r=4, lora_alpha=8, target_modules="all-linear"),
        train=dict(lr=0.005, schedule="cosine", warmup=2, weight_decay=0.01),
        full_train=None,
    ),
} | families.SPECS
META = {"format": "pt"}


def dump(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def make_base(folder, s, gen):
    """Writes base/ with weights of a realistic scale and returns the model as it loads."""
    folder.mkdir(parents=True)
    conf = families.config_json(s)
    (folder / "config.json").write_text(json.dumps(conf, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps({
        "bos_token_id": conf["bos_token_id"], "pad_token_id": conf["bos_token_id"], "do_sample": True,
        "eos_token_id": [conf["eos_token_id"], conf["bos_token_id"]], "repetition_penalty": 1.1, "temperature": 0.7,
        "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0"}, indent=2) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    tensors = {}
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=gen)
        if name.endswith("norm.weight"):
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.3 * noise
        elif "embed" in name or "lm_head" in name:
            value = 0.3 * noise
        else:
            value = 1.2 * noise / math.sqrt(p.shape[1])
        tensors[name] = value.to(getattr(torch, s["store"])).contiguous()
    if s["shards"] == 1:
        save_file(tensors, folder / "model.safetensors", META)
    else:
        names, index = list(tensors), {}
        for i in range(s["shards"]):
            file = f"model-{i + 1:05d}-of-{s['shards']:05d}.safetensors"
            part = names[i * len(names) // s["shards"]:(i + 1) * len(names) // s["shards"]]
            save_file({n: tensors[n] for n in part}, folder / file, META)
            index |= {n: file for n in part}
        total = sum(t.numel() * t.element_size() for t in tensors.values())
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2) + "\n")
    return load(folder)


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def token_nll(logits, labels):
    """NLL [rows, width] at the position of each label, zero where nothing is trained."""
    out = torch.zeros(labels.shape)
    lp = torch.log_softmax(logits[:, :-1].float(), -1)
    want = labels[:, 1:]
    picked = -lp.gather(2, want.clamp(min=0).unsqueeze(2)).squeeze(2)
    out[:, 1:] = torch.where(want >= 0, picked, torch.zeros(()))
    return out


def trained(labels):
    return int((labels[:, 1:] >= 0).sum())


def padded(rows, pad, left=False):
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, at] = torch.tensor(row)
        mask[i, at] = 1
    return ids, mask


def run(model, ids, mask, pos=None):
    if pos is None:
        pos = torch.arange(ids.shape[1]).expand(ids.shape)
    return model(input_ids=ids, attention_mask=mask, position_ids=pos, output_hidden_states=True)


def random_rows(gen, s, lengths):
    return [torch.randint(0, s["used"], (n,), generator=gen).tolist() for n in lengths]


def forward(case, s, model, gen):
    pad = s["used"] - 22
    rows = random_rows(gen, s, [14, 9, 5])
    ids, mask = padded(rows, pad)
    lids, lmask = padded(rows, pad, left=True)
    lpos = (lmask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        out, lout = run(model, ids, mask), run(model, lids, lmask, lpos)
    real = mask.unsqueeze(2).float()
    save_file({
        "right.input_ids": ids, "right.attention_mask": mask, "right.position_ids": torch.arange(ids.shape[1]).expand(ids.shape).contiguous(),
        "right.logits": out.logits * real, "right.hidden.embed": out.hidden_states[0] * real,
        "right.hidden.layer0": out.hidden_states[1] * real, "right.hidden.final": out.hidden_states[-1] * real,
        "left.input_ids": lids, "left.attention_mask": lmask, "left.position_ids": lpos,
        "left.logits_last": lout.logits[:, -1].contiguous(), "rope.inv_freq": model.model.rotary_emb.inv_freq.clone(),
    }, case / "forward.safetensors", META)
    dump(case / "forward.json", {
        "rows": 3, "width": ids.shape[1], "lengths": [len(r) for r in rows], "vocab_size": s["vocab"], "used_vocab": s["used"],
        "pad_id": pad, "logits_std": float(out.logits.std()), "rope_attention_scaling": 1.0})
    return ids, mask, lids, lmask, lpos


def long_forward(case, s, gen):
    """Rows beyond the model's positions, as a model computes them that has seen nothing before."""
    model, pad = load(case / "base"), s["used"] - 22
    rows = random_rows(gen, s, s["long_rows"])
    ids, mask = padded(rows, pad)
    with torch.no_grad():
        out = run(model, ids, mask)
    save_file({
        "right.input_ids": ids, "right.attention_mask": mask, "right.position_ids": torch.arange(ids.shape[1]).expand(ids.shape).contiguous(),
        "right.logits": out.logits * mask.unsqueeze(2).float(), "rope.inv_freq": model.model.rotary_emb.inv_freq.clone(),
    }, case / "long_forward.safetensors", META)


def losses(case, model, ids, mask):
    full = torch.where(mask == 1, ids, torch.tensor(-100))
    completion = full.clone()
    for i, n in enumerate([5, 3, 2]):
        completion[i, :n] = -100
    masked = completion.clone()
    masked[-1] = -100
    variants = {}
    for name, labels in dict(full=full, completion=completion, masked_row=masked).items():
        with torch.no_grad():
            logits = run(model, ids, mask).logits
            hf = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        nll = token_nll(logits, labels)
        total, n = float(nll.double().sum()), trained(labels)
        variants[name] = {
            "labels": labels.tolist(), "nll_sum_per_row": nll.double().sum(1).tolist(),
            "tokens_per_row": (labels[:, 1:] >= 0).sum(1).tolist(), "nll_sum": total, "tokens": n, "mean": total / n,
            "hf_loss": float(hf), "token_nll": nll.tolist()}
    dump(case / "loss.json", {"batch": "forward.safetensors: right.input_ids, right.attention_mask", "variants": variants})
    return completion


def save_adapter(peft, folder, base):
    peft.peft_config["default"].base_model_name_or_path = base
    peft.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def adapter(case, name, s, batch, completion, gen):
    """Writes a random adapter and what base + adapter compute, merged too."""
    ids, mask, lids, lmask, lpos = batch
    peft = get_peft_model(load(case / "base"), LoraConfig(task_type="CAUSAL_LM", **s["lora"]))
    for key, p in sorted(peft.named_parameters()):
        if "lora_" in key:
            p.data = torch.randn(p.shape, generator=gen) * (0.8 / math.sqrt(p.shape[1]) if "lora_A" in key else 0.15)
    save_adapter(peft, case / "adapter", f"{name}/base")
    peft.eval()
    with torch.no_grad():
        out, lout = run(peft, ids, mask), run(peft, lids, lmask, lpos)
    real = mask.unsqueeze(2).float()
    save_file({"right.logits": out.logits * real, "left.logits_last": lout.logits[:, -1].contiguous(),
               "right.hidden.layer0": out.hidden_states[1] * real}, case / "adapter_forward.safetensors", META)

    peft.zero_grad()
    nll = token_nll(run(peft, ids, mask).logits, completion).sum()
    n = trained(completion)
    (nll / n).backward()
    grads = lora_tensors(peft, lambda p: p.grad)
    save_file(grads, case / "grads.safetensors", META)
    norms = {k: float(g.double().norm()) for k, g in grads.items()}
    dump(case / "grads.json", {
        "labels": "loss.json: variants.completion.labels", "adapter": "adapter/", "nll_sum": float(nll.detach()), "tokens": n,
        "loss": float(nll.detach().double() / n), "global_norm": math.sqrt(sum(v * v for v in norms.values())), "norms": norms})
    merge(case, s, ids, mask, out.logits * real)


def lora_tensors(peft, get):
    """LoRA parameters under the key names of adapter_model.safetensors."""
    return {k.replace(".default", ""): get(p).detach().clone().contiguous() for k, p in peft.named_parameters() if "lora_" in k}


def merge(case, s, ids, mask, adapted):
    before = {k: v.clone() for k, v in load(case / "base").named_parameters()}
    peft = PeftModel.from_pretrained(load(case / "base"), case / "adapter")
    merged = peft.merge_and_unload()
    with torch.no_grad():
        logits = run(merged, ids, mask).logits * mask.unsqueeze(2).float()
    tensors, changed, unchanged, kinds = {"right.logits": logits}, {}, [], set()
    for name, w in merged.named_parameters():
        w = w.detach()
        if torch.equal(w, before[name]):
            unchanged.append(name)
            continue
        changed[name] = {
            "shape": list(w.shape), "l2": float(w.double().norm()), "sum": float(w.double().sum()),
            "l2_delta": float((w - before[name]).double().norm()), "sha256_f32_le": hashlib.sha256(w.numpy().tobytes()).hexdigest()}
        kind = name.split(".")[-2]
        if kind not in kinds:
            kinds.add(kind)
            tensors["merged." + name] = w.contiguous()
            if s["store"] == "bfloat16":
                tensors["merged_bf16." + name] = w.to(torch.bfloat16).contiguous()
    save_file(tensors, case / "merged_forward.safetensors", META)
    dump(case / "merged.json", {"changed": changed, "unchanged": unchanged,
                                "max_abs_logit_diff_to_adapter": float((logits - adapted).abs().max())})


def rate(i, t, total):
    w = t["warmup"]
    if i < w:
        return t["lr"] * i / w
    if t["schedule"] == "linear":
        return t["lr"] * (total - i) / (total - w)
    return t["lr"] * 0.5 * (1 + math.cos(math.pi * (i - w) / (total - w)))


def micro_batches(s, gen):
    """Two right-padded batches of two rows with unequal numbers of trained tokens."""
    while True:
        out = []
        for _ in range(2):
            rows, masks = [], []
            for _ in range(2):
                start = torch.randint(0, s["used"] - 22, (3,), generator=gen).tolist()
                n = int(torch.randint(4, 12, (1,), generator=gen))
                row = start + [start[i % 2 + 1] for i in range(n - 3)] + [s["used"] - 20]
                rows.append(row)
                masks.append(int(torch.randint(1, 4, (1,), generator=gen)))
            ids, mask = padded(rows, s["used"] - 22)
            labels = torch.where(mask == 1, ids, torch.tensor(-100))
            for i, m in enumerate(masks):
                labels[i, :m] = -100
            out.append((ids, mask, labels))
        if trained(out[0][2]) != trained(out[1][2]):
            return out


def train(model, params, t, total, s, gen, norms, first_grads=None, opt=None):
    """The loop of the Hugging Face Trainer with two accumulated micro-batches; opt is AdamW unless it is given."""
    groups = [{"params": [p for n, p in params if decays(n) or first_grads is None], "weight_decay": t["weight_decay"]},
              {"params": [p for n, p in params if not decays(n) and first_grads is not None], "weight_decay": 0.0}]
    if opt is None:
        opt = torch.optim.AdamW([g for g in groups if g["params"]], lr=t["lr"], betas=(0.9, 0.999), eps=1e-8)
    ratios = [g["lr"] / t["lr"] for g in opt.param_groups]
    steps, last = [], None
    for i in range(total):
        lr = rate(i, t, total)
        for g, ratio in zip(opt.param_groups, ratios):
            g["lr"] = lr * ratio
        micro = micro_batches(s, gen)
        tokens = [trained(m[2]) for m in micro]
        sums = []
        opt.zero_grad()
        for ids, mask, labels in micro:
            nll = token_nll(run(model, ids, mask).logits, labels).sum()
            (nll / sum(tokens)).backward()
            sums.append(float(nll.detach()))
        if i == 0 and first_grads is not None:
            first_grads.update({n: p.grad.detach().clone() for n, p in params})
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in params], 1.0)
        opt.step()
        last = micro
        steps.append({
            "step": i, "lr": lr, "loss": sum(sums) / sum(tokens), "grad_norm": float(norm), "tokens": sum(tokens),
            "nll_sum": sum(sums), "micro_tokens": tokens, "micro_nll_sum": sums, "param_norm_after": norms(),
            "micro_batches": [{"input_ids": a.tolist(), "attention_mask": b.tolist(), "labels": c.tolist()} for a, b, c in micro]})
    with torch.no_grad():
        nll = sum(float(token_nll(run(model, a, b).logits, c).sum()) for a, b, c in last)
    n = sum(trained(m[2]) for m in last)
    return {
        "optimizer": {"name": "AdamW", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": t["weight_decay"]},
        "schedule": {"type": t["schedule"], "base_lr": t["lr"], "warmup_steps": t["warmup"], "total_steps": total,
                     "lr": [rate(i, t, total) for i in range(total)]},
        "max_grad_norm": 1.0, "gradient_accumulation_steps": 2, "steps": steps,
        "final_eval": {"batch_of_step": total - 1, "nll_sum": nll, "tokens": n, "loss": nll / n}}


def decays(name):
    return not name.endswith("bias") and "norm" not in name


def train_lora(case, name, s, gen, seed):
    torch.manual_seed(seed)
    peft = get_peft_model(load(case / "base"), LoraConfig(task_type="CAUSAL_LM", **s["lora"]))
    save_adapter(peft, case / "train_init", f"{name}/base")
    peft.train()
    params = [(n, p) for n, p in peft.named_parameters() if p.requires_grad]

    def norms():
        return {k: math.sqrt(sum(float(p.detach().double().square().sum()) for n, p in params if k in n)) for k in ("lora_A", "lora_B")}

    dump(case / "train.json", train(peft, params, s["train"], 20, s, gen, norms))
    save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(peft).items()}, case / "train_final.safetensors", META)


def write_loraplus(folder, case, ratio, seed):
    """A run with PEFT's LoRA+ optimizer on the base of a case, from the same adapter as the case's own run."""
    s, gen = SPECS[case.name], torch.Generator().manual_seed(seed * 1000 + 77)
    peft = PeftModel.from_pretrained(load(case / "base"), case / "train_init", is_trainable=True).train()
    t = s["train"]
    opt = create_loraplus_optimizer(peft, torch.optim.AdamW, lr=t["lr"], loraplus_lr_ratio=ratio, loraplus_weight_decay=t["weight_decay"],
                                    betas=(0.9, 0.999), eps=1e-8)
    params = [(n, p) for n, p in peft.named_parameters() if p.requires_grad]
    out = train(peft, params, t, 12, s, gen, lambda: None, opt=opt)
    dump(folder / "loraplus.json", {"case": case.name, "loraplus_lr_ratio": ratio} | out)
    save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(peft).items()}, folder / "loraplus_final.safetensors", META)


def train_full(case, s, gen):
    model = load(case / "base").train()
    params = list(model.named_parameters())
    first = {}
    out = train(model, params, s["full_train"], 10, s, gen,
                lambda: math.sqrt(sum(float(p.detach().double().square().sum()) for _, p in params)), first)
    out |= {
        "decay_parameters": [n for n, _ in params if decays(n)], "no_decay_parameters": [n for n, _ in params if not decays(n)],
        "final_norms": {n: float(p.detach().double().norm()) for n, p in params},
        "first_step_grad_norms": {n: float(g.double().norm()) for n, g in first.items()}}
    dump(case / "full_train.json", out)
    keep = ["model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.q_proj.weight",
            "model.layers.1.input_layernorm.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"]
    final = dict(params)
    save_file({n: final[n].detach().contiguous() for n in keep}, case / "full_train_final.safetensors", META)
    save_file({n: first[n].contiguous() for n in keep}, case / "full_train_grads.safetensors", META)


def greedy(model, prompt, new=24, penalty=1.0):
    """Greedy decoding with a key/value cache."""
    with torch.no_grad():
        model(input_ids=torch.tensor([prompt[:1]]))  # dynamic rope scaling remembers longer sequences until a short one
    ids, out, gaps, cache, fed = list(prompt), [], [], None, list(prompt)
    for _ in range(new):
        with torch.no_grad():
            step = model(input_ids=torch.tensor([fed]), past_key_values=cache, use_cache=True)
        cache, logits = step.past_key_values, step.logits[0, -1].clone()
        if penalty != 1.0:
            seen = torch.tensor(sorted(set(ids)))
            v = logits[seen]
            logits[seen] = torch.where(v > 0, v / penalty, v * penalty)
        top = logits.topk(2).values
        gaps.append(float(top[0] - top[1]))
        ids.append(int(logits.argmax()))
        out.append(ids[-1])
        fed = ids[-1:]
    return {"ids": out, "gap": gaps}


def decode(case, s, gen):
    """Greedy decoding; prompts whose best two logits come close anywhere are drawn again."""
    base = load(case / "base")
    adapted = PeftModel.from_pretrained(load(case / "base"), case / "adapter").eval()
    prompts, lengths = [], [4, 7, 10] + s.get("prompts", [])
    while len(prompts) < len(lengths):
        prompt = torch.randint(0, s["used"], (lengths[len(prompts)],), generator=gen).tolist()
        a, b = greedy(base, prompt), greedy(adapted, prompt)
        if min(a["gap"] + b["gap"]) > 5e-3:
            prompts.append({"prompt": prompt, "base": a | {"min_gap": min(a["gap"])}, "adapter": b | {"min_gap": min(b["gap"])}})
    ids = prompts[0]["base"]["ids"]
    stop = next((i for i in range(2, len(ids)) if ids[i] not in ids[:i]), 0)
    while True:
        prompt = torch.randint(0, s["used"], (6,), generator=gen).tolist()
        rep = greedy(base, prompt, penalty=1.3)
        if min(rep["gap"]) > 1e-3:
            break
    dump(case / "generate.json", {
        "new_tokens": 24, "prompts": prompts,
        "stop": {"prompt": prompts[0]["prompt"], "eos_token_id": ids[stop], "ids": ids[:stop + 1]},
        "repetition_penalty": {"prompt": prompt, "penalty": 1.3, **rep, "min_gap": min(rep["gap"])}})


def write_case(case, name, s, seed):
    gen = torch.Generator().manual_seed(seed * 1000 + len(name))
    model = make_base(case / "base", s, gen)
    batch = forward(case, s, model, gen)
    completion = losses(case, model, batch[0], batch[1])
    adapter(case, name, s, batch, completion, gen)
    train_lora(case, name, s, gen, seed)
    if s["full_train"]:
        train_full(case, s, gen)
    decode(case, s, gen)
    if "long_rows" in s:
        long_forward(case, s, gen)
    return {
        "family": s.get("family", "qwen2"), "layout": s.get("layout", "hf4"), "store": s["store"], "shards": s["shards"],
        "tied": s["tied"], "hidden": s["hidden"], "intermediate": s["intermediate"], "layers": s["layers"], "heads": s["heads"],
        "kv_heads": s["kv_heads"], "head_dim": model.config.hidden_size // s["heads"] if "head_dim" not in s else s["head_dim"],
        "vocab": s["vocab"], "config": s.get("config"), "lora": s["lora"], "train": s["train"], "full_train": s["full_train"]}
