/**
 * Measures the engine in this process with several concurrent streams, without HTTP:
 *
 *     bun tests/bench/batched.ts MODEL.gguf [--streams 1,4,8,16] [-p 64] [-n 128] [--threads 2] [--device cpu]
 *
 * All streams start together, with random prompts of -p tokens, and generate -n tokens each, greedily. Prints the same JSON as
 * `tests/bench/peer/llama_cpp_batched.py`: {"streams": {"8": {"tok_s", "decode_tok_s"}, …}}. tok_s includes prefill;
 * decode_tok_s counts only the time after every stream has its first token.
 */

import { parseArgs } from "node:util"
import { loadModel } from "../../src/engine/load.ts"
import { type Engine, GREEDY } from "../../src/engine/types.ts"
import { randomPrompt } from "./serve/random.ts"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    streams: { type: "string", default: "1,4,8,16" },
    prompt: { type: "string", short: "p", default: "64" },
    generate: { type: "string", short: "n", default: "128" },
    threads: { type: "string", default: "2" },
    device: { type: "string", default: "cpu" },
  },
})
const [path] = positionals
if (path === undefined) throw new Error("name a GGUF file: bun tests/bench/batched.ts MODEL.gguf")
const counts = values.streams.split(",").map(Number)
const [prompt, generate, threads] = [Number(values.prompt), Number(values.generate), Number(values.threads)]

await using model = await loadModel(path, {
  device: values.device,
  threads,
  ctxSize: prompt + generate,
  maxSeqs: Math.max(...counts),
})
await measure(model.engine, 1, 8, 0)
const streams: Record<string, Rates> = {}
for (const [i, count] of counts.entries()) streams[count] = await measure(model.engine, count, generate, i + 1)
console.log(JSON.stringify({ streams, threads: model.threads, device: model.device.name }))

interface Rates {
  tok_s: number
  decode_tok_s: number
}

async function measure(engine: Engine, count: number, tokens: number, run: number): Promise<Rates> {
  const start = performance.now()
  let [first, begun, total, late] = [0, 0, 0, 0]
  const stream = async (index: number) => {
    const request = {
      id: `${run}-${index}`,
      tokens: Int32Array.from(randomPrompt(prompt, run * 1009 + index, engine.limits.nVocab)),
      sampling: GREEDY,
      maxTokens: tokens,
      stopTokens: new Set<number>(),
    }
    let mine = 0
    for await (const event of engine.generate(request)) {
      if (event.type !== "token") continue
      total++
      if (++mine === 1 && ++begun === count) [first, late] = [performance.now(), total]
    }
  }
  await Promise.all(Array.from({ length: count }, (_, index) => stream(index)))
  const end = performance.now()
  return { tok_s: (1000 * total) / (end - start), decode_tok_s: (1000 * (total - late)) / (end - first) }
}
