"""Runs streams in transformers with PEFT: a line of JSON for each measurement, see peer.go.

The loop is the least that a server does: one batch, a key/value cache, the likeliest token of each row.
"""

import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")

import torch  # noqa: E402
from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, DynamicCache  # noqa: E402

folder, dtype, threads, *adapters = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(0)
base = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.bfloat16 if dtype == "bf16" else torch.float32, attn_implementation="sdpa"
)
model = PeftModel.from_pretrained(base, adapters[0], adapter_name="0")
for i, path in enumerate(adapters[1:], 1):
    model.load_adapter(path, adapter_name=str(i))
model.eval()


@torch.inference_mode()
def measure(prompts, tokens, adapters):
    start = time.monotonic()
    times = [[] for _ in prompts]
    mixed = {}
    if adapters > 1:
        mixed = {"adapter_names": [str(i % adapters) for i in range(len(prompts))]}
    elif adapters == 1:
        model.set_adapter("0")
    cache, ids = DynamicCache(), torch.tensor(prompts)
    for _ in range(tokens):
        logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1, **mixed).logits
        ids = logits[:, -1].argmax(-1, keepdim=True)
        ids.tolist()
        for row in times:
            row.append(1000 * (time.monotonic() - start))
    return {"times": times}


for line in sys.stdin:
    request = json.loads(line)
    try:
        if request["adapters"] == 0:
            with model.disable_adapter():
                answer = measure(**request)
        else:
            answer = measure(**request)
    except Exception as error:  # the caller tells it
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
