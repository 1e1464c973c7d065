// Has OpenAI's Node SDK, unchanged, call a tool, streamed, and run it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [baseURL, sdk] = process.argv.slice(2);
const require = createRequire(sdk + "/package.json");
const { default: OpenAI } = await import(pathToFileURL(require.resolve("openai")).href);
const client = new OpenAI({ baseURL: baseURL + "/v1", apiKey: "none", maxRetries: 0 });

const asked = [];
const weather = {
  name: "weather",
  description: "the weather of a city",
  parameters: { type: "object", properties: { city: { type: "string" } } },
  parse: JSON.parse,
  function: ({ city }) => (asked.push(city), "21 degrees"),
};
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const runner = client.chat.completions.runTools({ model: "m", stream: true, messages, tools: [{ type: "function", function: weather }] });
assert.equal(await runner.finalContent(), "It is 21 degrees");
assert.deepEqual(asked, ["Paris"]);
