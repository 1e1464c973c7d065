// Runs streams in llama.cpp: a line of JSON for each measurement, see peer.go.
import { createInterface } from "node:readline";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [base, adapter, threads] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: "never", logLevel: LlamaLogLevel.error, maxThreads: Number(threads) });
const model = await llama.loadModel({ modelPath: base, gpuLayers: 0 });

async function measure({ prompts, tokens, adapters }) {
    const length = Math.max(...prompts.map((p) => p.length)) + tokens + 8;
    const context = await model.createContext({
        threads: Number(threads), sequences: prompts.length, contextSize: length, batchSize: Math.max(512, prompts.length * 16),
        lora: adapters > 0 ? adapter : undefined,
    });
    try {
        const sequences = prompts.map(() => context.getSequence());
        const start = performance.now();
        const times = await Promise.all(sequences.map(async (sequence, i) => {
            const list = [];
            // A random model may choose the end of a turn: the answer goes on behind it.
            let input = prompts[i];
            while (list.length < tokens) {
                for await (const token of sequence.evaluate(input, { temperature: 0, yieldEogToken: true })) {
                    list.push(performance.now() - start);
                    input = [token];
                    if (list.length === tokens) break;
                }
            }
            return list;
        }));
        return { times };
    } finally {
        await context.dispose();
    }
}

for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
        answer = await measure(JSON.parse(line));
    } catch (error) {
        answer = { error: String(error) };
    }
    console.log(JSON.stringify(answer));
}
await model.dispose();
await llama.dispose();
