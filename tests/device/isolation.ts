/**
 * `isolation.ts BACKEND MODEL.gguf`: with `deterministic`, 32 requests produce bit-identical output alone and all at once: in large
 * and in small chunks, with shared prefixes that come from the prefix cache.
 */

import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { mixedRequests, said } from "../support/isolation.ts"
import { backendArgument, report } from "./support.ts"

const CONTEXT = 1024

const device = backendArgument()
const path = process.argv[3]
if (!path) throw new Error("name a model file")
const load = (options: LoadOptions) => loadModel(path, { device, ctxSize: CONTEXT, deterministic: true, ...options })

let nVocab = 0
const alone: string[] = []
{
  await using model = await load({ maxSeqs: 1, prefixCache: false })
  nVocab = model.engine.limits.nVocab
  for (const asked of requests()) alone.push(await said(model, asked))
}
for (const [name, options] of [
  ["32 at once", { maxSeqs: 32 }],
  ["8 at once, in chunks of 48", { maxSeqs: 8, batchSize: 64, chunkSize: 48 }],
] satisfies [string, LoadOptions][]) {
  await using model = await load(options)
  const together = await Promise.all(requests().map((asked) => said(model, asked)))
  const same = together.filter((text, i) => text === alone[i]).length
  const { prefixHitTokens, nPreemptions } = model.engine.stats()
  report(
    same === alone.length,
    `${name}: ${same} of ${alone.length} say the same bits (${prefixHitTokens} prompt tokens cached, ${nPreemptions} preemptions)`,
  )
}

function requests() {
  return mixedRequests({ n: 32, longest: 900, nVocab })
}
