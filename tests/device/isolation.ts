/**
 * `isolation.ts BACKEND MODEL.gguf`: 32 requests say the same, bit for bit, alone and all at once under `deterministic`: in large
 * chunks and in small ones, with prompts that begin alike and are found in the cache.
 */

import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { mixedRequests, said } from "../support/isolation.ts"
import { backendArgument, report } from "./support.ts"

const CONTEXT = 1024

const device = backendArgument()
const path = process.argv[3]
if (!path) throw new Error("name a model file")
const load = (options: LoadOptions) => loadModel(path, { device, ctx_size: CONTEXT, deterministic: true, ...options })

let n_vocab = 0
const alone: string[] = []
{
  await using model = await load({ max_seqs: 1, prefix_cache: false })
  n_vocab = model.engine.limits.n_vocab
  for (const asked of requests()) alone.push(await said(model, asked))
}
for (const [name, options] of [
  ["32 at once", { max_seqs: 32 }],
  ["8 at once, in chunks of 48", { max_seqs: 8, batch_size: 64, chunk_size: 48 }],
] satisfies [string, LoadOptions][]) {
  await using model = await load(options)
  const together = await Promise.all(requests().map((asked) => said(model, asked)))
  const same = together.filter((text, i) => text === alone[i]).length
  const { prefix_hit_tokens, n_preemptions } = model.engine.stats()
  report(
    same === alone.length,
    `${name}: ${same} of ${alone.length} say the same bits (${prefix_hit_tokens} prompt tokens cached, ${n_preemptions} preemptions)`,
  )
}

function requests() {
  return mixedRequests({ n: 32, longest: 900, n_vocab })
}
