"""Tokenizes the rows of a JSONL file into a Parquet shard with Hugging Face's tokenizers; the counterpart of main.go.

    pip install tokenizers pyarrow transformers jinja2
    python hf.py MODEL_FOLDER ROWS.jsonl [--template]

The rows become the columns of descant's shards (input_ids, labels, row, line), in zstd Parquet written by pyarrow, and all
tokens are trained. Batches are encoded on all cores. Without --template the text of ChatML as Qwen2.5 has it is written out
by hand, which is quicker than any template engine; with it the base's own template is rendered by transformers, as descant
does. Prints one line of JSON, whose times do not hold the loading of the tokenizer.
"""

import json
import os
import resource
import sys
import tempfile
import time

import pyarrow
import pyarrow.parquet
from tokenizers import Tokenizer

BATCH = 1000
SYSTEM = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
IDS = pyarrow.list_(pyarrow.int32())
SCHEMA = pyarrow.schema([("input_ids", IDS), ("labels", IDS), ("row", pyarrow.int64()), ("line", pyarrow.int64())])


def question(row):
    return row["instruction"] + ("\n" + row["input"] if row["input"] else "")


def by_hand(rows):
    return [f"{SYSTEM}<|im_start|>user\n{question(r)}<|im_end|>\n<|im_start|>assistant\n{r['output']}<|im_end|>\n" for r in rows]


def by_template(model):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(model)

    def render(rows):
        return own.apply_chat_template(
            [[{"role": "user", "content": question(r)}, {"role": "assistant", "content": r["output"]}] for r in rows], tokenize=False)

    return render


def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main(model, path, template):
    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    render = by_template(model) if template else by_hand
    count = tokens = 0
    encoding = 0.0
    started, before = time.perf_counter(), used()
    with tempfile.TemporaryDirectory() as folder, open(path, encoding="utf-8") as lines:
        with pyarrow.parquet.ParquetWriter(os.path.join(folder, "shard.parquet"), SCHEMA, compression="zstd") as shard:
            while rows := [json.loads(line) for _, line in zip(range(BATCH), lines)]:
                texts = render(rows)
                begin = time.perf_counter()
                encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
                encoding += time.perf_counter() - begin
                ids = pyarrow.array([e.ids for e in encoded], IDS)
                index = range(count, count + len(rows))
                shard.write_table(pyarrow.table([ids, ids, list(index), [i + 1 for i in index]], schema=SCHEMA))
                count += len(rows)
                tokens += len(ids.values)
    total, cpu = time.perf_counter() - started, used() - before
    print(json.dumps({
        "rows": count, "tokens": tokens, "seconds": total, "cpu_seconds": cpu, "rows_per_second": count / total,
        "encode_seconds": encoding, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], "--template" in sys.argv[3:])
