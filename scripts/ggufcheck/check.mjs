// Loads GGUF files in llama.cpp and compares with reference numbers: see main.go.
import { readFileSync } from "node:fs";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const checks = JSON.parse(readFileSync(process.argv[2], "utf8"));
// One thread: the models are tiny, and threads that wait for each other spin on a busy machine.
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: 1 });
let failures = 0;
const fail = (text) => { failures++; console.error("FAIL " + text); };

// next gives the probabilities of the next token after every place of ids.
async function next(sequence, ids) {
    await sequence.clearHistory();
    const input = ids.map((id) => [id, { generateNext: { probabilities: true } }]);
    const out = await sequence.controlledEvaluate(input);
    return out.map((o) => o.next.probabilities);
}

async function greedy(sequence, ids, count) {
    await sequence.clearHistory();
    const out = [];
    let input = ids;
    while (out.length < count) {
        const result = await sequence.controlledEvaluate(
            input.map((id, i) => i === input.length - 1 ? [id, { generateNext: { probabilities: true } }] : id));
        const best = result[input.length - 1].next.probabilities.entries().next().value[0];
        out.push(best);
        input = [best];
    }
    return out;
}

function softmax(logits) {
    const top = Math.max(...logits);
    const all = logits.map((l) => Math.exp(l - top));
    const sum = all.reduce((a, b) => a + b, 0);
    return all.map((e) => e / sum);
}

async function withContext(model, lora, work) {
    const context = await model.createContext({ threads: 1,
        contextSize: 256, sequences: 1, flashAttention: false, lora,
        experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
    });
    try {
        return await work(context.getSequence());
    } finally {
        await context.dispose();
    }
}

for (const check of checks) {
    const model = await llama.loadModel({ modelPath: check.base, gpuLayers: 0 });
    const lora = check.adapter || undefined;
    let tokens = 0, worst = 0;
    for (const [key, adapter] of [["plain", undefined], ["adapted", lora]]) {
        if (!check.prompts?.length) break;
        await withContext(model, adapter, async (sequence) => {
            for (const p of check.prompts) {
                const got = await greedy(sequence, p.ids, p[key].length);
                tokens += got.length;
                if (got.join() !== p[key].join()) fail(`${check.name} ${key}: ids ${got}, expected ${p[key]}`);
            }
        });
    }
    if (check.rows?.length) await withContext(model, lora, async (sequence) => {
        for (const row of check.rows) {
            const got = await next(sequence, row.ids);
            row.logits.forEach((logits, place) => softmax(logits).forEach((p, id) => {
                const diff = Math.abs((got[place].get(id) ?? 0) - p);
                worst = Math.max(worst, diff);
            }));
        }
    });
    if (check.rows?.length && !(worst <= check.limit)) fail(`${check.name}: a probability differs by ${worst}, allowed ${check.limit}`);
    for (const t of check.texts ?? []) {
        const got = model.tokenize(t.text, false);
        if (got.join() !== t.ids.join()) fail(`${check.name}: ${JSON.stringify(t.text)} is ${got}, expected ${t.ids}`);
    }
    console.log(`${check.name}: ${tokens} greedy ids, ${check.rows?.length ?? 0} rows, largest difference of a probability ${worst.toExponential(1)}, ${check.texts?.length ?? 0} texts`);
    await model.dispose();
}
await llama.dispose();
process.exit(failures ? 1 : 0);
