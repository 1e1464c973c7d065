// Drives the HTTP API with OpenAI's Node SDK, unchanged: upload, job, events, chat, errors, cancel, retries, a disconnect.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [baseURL, model, sdk] = process.argv.slice(2);
const require = createRequire(sdk + "/package.json");
const { default: OpenAI, toFile } = await import(pathToFileURL(require.resolve("openai")).href);
const client = new OpenAI({ baseURL: baseURL + "/v1", apiKey: "none", maxRetries: 0 });
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const rows = [0, 1, 2, 3].map((i) => JSON.stringify({ instruction: `node ${i}`, output: "yes" })).join("\n");
const file = await client.files.create({ file: await toFile(Buffer.from(rows), "node.jsonl"), purpose: "fine-tune" });
assert.equal(file.status, "processed");
assert.equal(await (await client.files.content(file.id)).text(), rows);

const options = { r: 2, max_steps: 3, target_modules: ["q_proj"] };
let job = await client.fineTuning.jobs.create({ model, training_file: file.id, suffix: "node-sdk", hyperparameters: { batch_size: 1 }, ...options });
const end = Date.now() + 60_000;
while (!["succeeded", "failed", "cancelled"].includes(job.status) && Date.now() < end) {
  await sleep(100);
  job = await client.fineTuning.jobs.retrieve(job.id);
}
assert.equal(job.status, "succeeded", JSON.stringify(job));
const steps = [];
for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 3 })) if (event.type === "metrics" && event.data.train_loss !== undefined) steps.push(event.data.step);
assert.deepEqual(steps, [3, 2, 1]);

const messages = [{ role: "user", content: "node 1" }];
const whole = await client.chat.completions.create({ model: "node-sdk", messages, max_completion_tokens: 4, temperature: 0 });
assert.equal(whole.model, job.fine_tuned_model);
let text = "";
for await (const chunk of await client.chat.completions.create({ model: "node-sdk", messages, max_completion_tokens: 4, temperature: 0, stream: true })) text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, whole.choices[0].message.content);
const helper = await client.chat.completions.stream({ model: "node-sdk", messages, max_completion_tokens: 4, temperature: 0 }).finalChatCompletion();
assert.equal(helper.choices[0].message.content, text);

const ids = [];
for await (const one of client.models.list()) ids.push(one.id);
assert.ok(ids.includes("node-sdk") && ids.includes(model), ids.join());
assert.equal((await client.models.retrieve(job.fine_tuned_model)).parent, model);
await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found" && e.param === "model" && /^req_/.test(e.requestID));
await assert.rejects(client.chat.completions.create({ model, messages, temprature: 1 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temprature" && /temperature/.test(e.message));
await assert.rejects(client.fineTuning.jobs.resume(job.id), (e) => e.status === 400 && e.code === "conflict");

// A long job is paused, resumed and cancelled.
const long = await client.fineTuning.jobs.create({ model, training_file: file.id, suffix: "node-long", ...options, max_steps: 100000 });
const until = async (wanted) => {
  for (const last = Date.now() + 60_000; Date.now() < last; await sleep(50)) if ((await client.fineTuning.jobs.retrieve(long.id)).status === wanted) return;
  assert.fail(`the job is not ${wanted}`);
};
await until("running");
assert.equal((await client.fineTuning.jobs.pause(long.id)).status, "paused");
assert.notEqual((await client.fineTuning.jobs.resume(long.id)).status, "paused");
assert.equal((await client.fineTuning.jobs.cancel(long.id)).status, "cancelled");

// The first answer of each kind of request gets lost; the SDK asks again, and nothing is there twice.
const lost = new Set();
const retrying = new OpenAI({ baseURL: baseURL + "/v1", apiKey: "none", maxRetries: 2, fetch: async (url, init) => {
  const answer = await fetch(url, init), key = new URL(url).pathname;
  if (init.method?.toUpperCase() !== "POST" || lost.has(key)) return answer;
  lost.add(key);
  await answer.text();
  throw new TypeError("the answer got lost");
} });
const all = async (pages) => {
  const list = [];
  for await (const one of pages) list.push(one);
  return list;
};
const filesNow = async () => (await all(client.files.list())).map((f) => f.id);
const before = await filesNow();
const again = await retrying.files.create({ file: await toFile(Buffer.from(rows + "\n" + rows), "retry-node.jsonl"), purpose: "fine-tune" });
assert.deepEqual((await filesNow()).filter((id) => !before.includes(id)), [again.id]);
const twin = await retrying.fineTuning.jobs.create({ model, training_file: again.id, suffix: "node-retry", metadata: { sdk: "node-retry" }, ...options });
const twins = (await all(client.fineTuning.jobs.list())).filter((j) => j.metadata?.sdk === "node-retry").map((j) => j.id);
assert.deepEqual([twins, lost.size], [[twin.id], 2]);

// A client that goes away in the middle of a stream.
const stream = await client.chat.completions.create({ model, messages, max_tokens: 200, stream: true, ignore_eos: true });
for await (const _ of stream) break;
assert.ok((await client.chat.completions.create({ model, messages, max_tokens: 1 })).choices.length);
assert.ok((await client.files.delete(file.id)).deleted);
console.log("ok", "flow.mjs");
