"""Tokenizes the rows of a JSONL file with Hugging Face's tokenizers; the counterpart of main.go.

    python hf.py MODEL_FOLDER ROWS.jsonl

Prints one line of JSON: the time of encode_batch alone, and the time with reading and rendering (ChatML as Qwen2.5 has
it, written out by hand, which is quicker than any template engine).
"""

import json
import resource
import sys
import time

from tokenizers import Tokenizer

BATCH = 1000
SYSTEM = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"


def rendered(row):
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    return f"{SYSTEM}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{row['output']}<|im_end|>\n"


def main(model, path):
    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    rows = tokens = 0
    encoding = 0.0
    started = time.perf_counter()
    batch = []

    def flush():
        nonlocal rows, tokens, encoding
        begin = time.perf_counter()
        out = tokenizer.encode_batch(batch, add_special_tokens=False)
        encoding += time.perf_counter() - begin
        rows += len(out)
        tokens += sum(len(e.ids) for e in out)
        batch.clear()

    with open(path, encoding="utf-8") as lines:
        for line in lines:
            batch.append(rendered(json.loads(line)))
            if len(batch) == BATCH:
                flush()
    if batch:
        flush()
    total = time.perf_counter() - started
    print(json.dumps({
        "rows": rows, "tokens": tokens, "seconds": total, "rows_per_second": rows / total,
        "encode_seconds": encoding, "encode_rows_per_second": rows / encoding,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
