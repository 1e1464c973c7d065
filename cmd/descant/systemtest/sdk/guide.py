"""Goes the way that OpenAI's guide to fine-tuning shows, in its order; only base_url and the model's name are ours."""
import json
import sys
import tempfile
import time

from openai import OpenAI

base_url, model = sys.argv[1] + "/v1", sys.argv[2]
client = OpenAI(base_url=base_url, api_key="none")

# 1. A file of conversations, one a line.
with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as data:
    for capital, country in [("Paris", "France"), ("Rome", "Italy"), ("Oslo", "Norway"), ("Lima", "Peru"), ("Cairo", "Egypt"),
                             ("Bern", "Switzerland"), ("Riga", "Latvia"), ("Quito", "Ecuador"), ("Delhi", "India"), ("Dakar", "Senegal")]:
        data.write(json.dumps({"messages": [
            {"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."},
            {"role": "user", "content": f"What's the capital of {country}?"},
            {"role": "assistant", "content": f"{capital}, as if everyone doesn't know that already.", "weight": 1}]}) + "\n")
    data.flush()
    training_file = client.files.create(file=open(data.name, "rb"), purpose="fine-tune")
training_file = client.files.wait_for_processing(training_file.id)
assert training_file.status == "processed" and training_file.purpose == "fine-tune"

# 2. A job.
job = client.fine_tuning.jobs.create(
    training_file=training_file.id, model=model, method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}})
assert job.id in [j.id for j in client.fine_tuning.jobs.list(limit=10)]
assert job.method.supervised.hyperparameters.n_epochs == 2 and job.error is None and job.fine_tuned_model is None

# 3. Its events, until it has ended.
seen = set()
end = time.monotonic() + 90
while (state := client.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed", "cancelled"):
    assert time.monotonic() < end, state
    for event in client.fine_tuning.jobs.list_events(fine_tuning_job_id=job.id, limit=10):
        seen.add(event.message)
    time.sleep(0.2)
assert state.status == "succeeded" and state.finished_at >= state.created_at and state.trained_tokens > 0, state
assert any(event.message.startswith("Step ") for event in client.fine_tuning.jobs.list_events(fine_tuning_job_id=job.id, limit=10))
checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
assert checkpoint.fine_tuned_model_checkpoint == state.fine_tuned_model and checkpoint.metrics.train_loss > 0, checkpoint

# 4. A conversation with the model, which goes on with the answer as the SDK gave it.
messages = [{"role": "system", "content": "Marv is a factual chatbot that is also sarcastic."}, {"role": "user", "content": "What's the capital of Peru?"}]
completion = client.chat.completions.create(model=state.fine_tuned_model, messages=messages, max_tokens=8)
assert completion.model == state.fine_tuned_model and completion.choices[0].finish_reason in ("stop", "length"), completion
messages += [completion.choices[0].message, {"role": "user", "content": [{"type": "text", "text": "And of Italy?"}]}]
assert client.chat.completions.create(model=state.fine_tuned_model, messages=messages, max_completion_tokens=4).choices[0].message.role == "assistant"
print("ok")
