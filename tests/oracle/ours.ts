/**
 * Writes our engine's results for the inputs of tests/golden/real, for compare.py:
 *
 *   bun run tests/oracle/ours.ts MODEL.gguf OUT_FOLDER [THREADS]
 *
 * Writes logits.f32, float32 [512, n_vocab], and greedy.json, token ids [10][48].
 */

import { join } from "node:path"
import { loadModel } from "../../src/engine/load.ts"
import { GREEDY } from "../../src/engine/types.ts"
import { readRealGolden } from "../support/real-golden.ts"
import { PlanRunner } from "../support/run-plan.ts"

const [path, folder, threads = "2"] = process.argv.slice(2)
if (path === undefined || folder === undefined) {
  console.error("usage: bun run tests/oracle/ours.ts MODEL.gguf OUT_FOLDER [THREADS]")
  process.exit(2)
}
const golden = await readRealGolden()

{
  const tokens = golden.text_tokens.slice(0, -1)
  const options = { maxTokens: tokens.length, kvType: "f16", threads: Number(threads) } as const
  using runner = await PlanRunner.open(path, options)
  await Bun.write(join(folder, "logits.f32"), runner.run(tokens, 128).logits)
}

await using model = await loadModel(path, { device: "cpu", threads: Number(threads), ctxSize: 1024, maxSeqs: 1 })
const continuations: number[][] = []
for (const [i, prompt] of golden.prompts.entries()) {
  const tokens: number[] = []
  const request = { id: `greedy-${i}`, tokens: Int32Array.from(prompt.tokens), sampling: GREEDY }
  const max_tokens = golden.transformers.greedy[i]?.tokens.length ?? 0
  for await (const event of model.engine.generate({ ...request, maxTokens: max_tokens, stopTokens: new Set() })) {
    if (event.type === "token") tokens.push(event.token)
  }
  continuations.push(tokens)
}
await Bun.write(join(folder, "greedy.json"), JSON.stringify(continuations))
