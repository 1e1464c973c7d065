"""Drives the HTTP API with OpenAI's Python SDK, unchanged: upload, job, events, chat, errors, retries, cancel, a disconnect."""
import json
import os
import sys
import time

import httpx2
import openai
from openai.types.fine_tuning import FineTuningJobEvent

base_url, training_model = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base_url + "/v1", api_key="none", max_retries=0)

rows = "\n".join(json.dumps({"messages": [{"role": "user", "content": f"python {i}"}, {"role": "assistant", "content": "yes"}]}) for i in range(4))
file = client.files.create(file=("python.jsonl", rows.encode()), purpose="fine-tune")
assert file.status == "processed" and file.bytes == len(rows.encode()), file
assert client.files.content(file.id).read() == rows.encode()
assert file.id in [f.id for f in client.files.list()]
assert client.files.retrieve(file.id).filename == "python.jsonl"

options = {"extra_body": {"r": 2, "max_steps": 3, "save_steps": 1, "target_modules": ["q_proj"]}}
job = client.fine_tuning.jobs.create(
    model=training_model, training_file=file.id, suffix="python-sdk", seed=7, metadata={"sdk": "python"},
    method={"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 1, "learning_rate_multiplier": 2}}}, **options)
assert job.hyperparameters.batch_size == 1 and job.training_file == file.id and job.metadata == {"sdk": "python"}, job
assert [j.id for j in client.fine_tuning.jobs.list(metadata={"sdk": "python"})] == [job.id]
# The SDK has no call for the stream of events, but reads it.
followed = list(client.get(f"/fine_tuning/jobs/{job.id}/events?stream=true", cast_to=FineTuningJobEvent, stream=True, stream_cls=openai.Stream[FineTuningJobEvent]))
assert followed[0].message.startswith("received") and followed[-1].data["status"] == "succeeded", followed
end = time.monotonic() + 60
while job.status not in ("succeeded", "failed", "cancelled") and time.monotonic() < end:
    time.sleep(0.1)
    job = client.fine_tuning.jobs.retrieve(job.id)
assert job.status == "succeeded" and job.fine_tuned_model.startswith("python-sdk@") and job.trained_tokens > 0, job
events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
assert [e.data["step"] for e in events if e.type == "metrics" and "train_loss" in e.data] == [3, 2, 1], events
assert len({e.id for e in events}) == len(events) and events[-1].message.startswith("received")
checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
assert [c.fine_tuning_job_id for c in checkpoints] == [job.id] and checkpoints[0].metrics.train_loss > 0, checkpoints

question = [{"role": "user", "content": "python 1"}]
answer = client.chat.completions.create(model=job.fine_tuned_model, messages=question, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2)
assert answer.model == job.fine_tuned_model and answer.usage.completion_tokens <= 4 and len(answer.choices[0].logprobs.content[0].top_logprobs) == 2, answer
text, usage = "", None
for chunk in client.chat.completions.create(model=job.fine_tuned_model, messages=question, max_tokens=4, temperature=0, stream=True, stream_options={"include_usage": True}):
    text += "".join(c.delta.content or "" for c in chunk.choices)
    usage = chunk.usage or usage
assert text == answer.choices[0].message.content and usage.total_tokens == answer.usage.total_tokens, (text, usage, answer)
several = client.chat.completions.create(model=training_model, messages=question, max_tokens=2, n=2, seed=1, temperature=1)
assert [c.index for c in several.choices] == [0, 1], several
plain = client.completions.create(model=training_model, prompt="python", max_tokens=3, logprobs=1)
assert len(plain.choices[0].logprobs.tokens) <= 3 and plain.object == "text_completion", plain
assert client.models.retrieve("python-sdk").parent == training_model
assert {"python-sdk", training_model} <= {m.id for m in client.models.list()}


def refused(error, param, call):
    try:
        call()
    except error as e:
        assert e.param == param and e.message and e.request_id, (e.param, e.body)
    else:
        raise AssertionError(f"{param} was not refused")


refused(openai.NotFoundError, "model", lambda: client.chat.completions.create(model="nobody", messages=question))
refused(openai.BadRequestError, "messages[0].role", lambda: client.chat.completions.create(model=training_model, messages=[{"role": "boss", "content": ""}]))
refused(openai.BadRequestError, "training_file", lambda: client.fine_tuning.jobs.create(model=training_model, training_file="file-none"))
refused(openai.BadRequestError, "method.type", lambda: client.fine_tuning.jobs.create(model=training_model, training_file=file.id, method={"type": "dpo"}))
refused(openai.BadRequestError, "file", lambda: client.files.create(file=("bad.jsonl", b'{"messages": []}'), purpose="fine-tune"))

# The first answer of each kind of request gets lost; the SDK asks again, and nothing is there twice.
lost = set()


def lose_first(response):
    key = (response.request.method, response.request.url.path)
    if response.request.method == "POST" and key not in lost:
        lost.add(key)
        response.read()
        raise httpx2.ReadError("the answer got lost", request=response.request)


retrying = openai.OpenAI(base_url=base_url + "/v1", api_key="none", max_retries=2,
                         http_client=openai.DefaultHttpxClient(event_hooks={"response": [lose_first]}))
before = len(list(client.files.list()))
again = retrying.files.create(file=("retry.jsonl", rows.encode()), purpose="fine-tune")
assert len(list(client.files.list())) == before + 1
twin = retrying.fine_tuning.jobs.create(model=training_model, training_file=again.id, suffix="python-retry", metadata={"sdk": "retry"}, **options)
assert [j.id for j in client.fine_tuning.jobs.list(metadata={"sdk": "retry"})] == [twin.id] and len(lost) == 2

# A long job is cancelled.
long = client.fine_tuning.jobs.create(model=training_model, training_file=file.id, suffix="python-long", extra_body=options["extra_body"] | {"max_steps": 100000})
assert client.fine_tuning.jobs.cancel(long.id).status == "cancelled" and client.fine_tuning.jobs.retrieve(long.id).status == "cancelled"

# A client that goes away in the middle of a stream.
stream = client.chat.completions.create(model=training_model, messages=question, max_tokens=200, stream=True, extra_body={"ignore_eos": True})
next(iter(stream))
stream.close()
assert client.chat.completions.create(model=training_model, messages=question, max_tokens=1).choices

assert client.models.delete(job.fine_tuned_model).deleted
refused(openai.NotFoundError, "model", lambda: client.chat.completions.create(model=job.fine_tuned_model, messages=question))
assert client.files.delete(file.id).deleted
refused(openai.NotFoundError, "id", lambda: client.files.retrieve(file.id))
print("ok", os.path.basename(sys.argv[0]), openai.__version__)
