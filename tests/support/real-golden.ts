/** Results of the peers for the default model, written by tests/oracle/make_golden.py and described in tests/golden/real/README.md. */

import { join } from "node:path"
import { z } from "zod"

const FOLDER = join(import.meta.dir, "../golden/real")
const N_TOP = 64

const Tokens = z.array(z.int().min(0))
const Peer = z.object({
  version: z.string(),
  perplexity: z.number(),
  greedy: z.array(z.object({ tokens: Tokens, margins: z.array(z.number()) })),
})
const Golden = z.object({
  model: z.object({ file: z.string(), sha256: z.string() }),
  /** One more than the number of positions: the last token is only a target. */
  text_tokens: Tokens,
  prompts: z.array(z.object({ text: z.string(), tokens: Tokens })),
  transformers: Peer,
  "llama.cpp": Peer.extend({ kl: z.number() }),
})

export type RealGolden = z.infer<typeof Golden> & {
  /** The text. `text_tokens` cover its beginning. */
  text: string
  /** The reference's most probable tokens at each position, best first, and their log-probabilities. */
  top: { tokens: Uint16Array; logprobs: Float32Array }[]
}

export async function readRealGolden(): Promise<RealGolden> {
  const file = (name: string) => Bun.file(join(FOLDER, name))
  const golden = Golden.parse(await file("peers.json").json())
  const bytes = await file(`top${N_TOP}.bin`).arrayBuffer()
  const top = Array.from({ length: golden.text_tokens.length - 1 }, (_, i) => {
    const at = i * N_TOP * 4
    return {
      tokens: new Uint16Array(bytes, at, N_TOP),
      logprobs: Float32Array.from(new Float16Array(bytes, at + N_TOP * 2, N_TOP)),
    }
  })
  return { ...golden, text: await file("text.txt").text(), top }
}

/** float64 log-probabilities from logits. */
export function logSoftmax(logits: Float32Array): Float64Array {
  let most = Number.NEGATIVE_INFINITY
  for (const value of logits) most = Math.max(most, value)
  let sum = 0
  for (const value of logits) sum += Math.exp(value - most)
  const shift = most + Math.log(sum)
  return Float64Array.from(logits, (value) => value - shift)
}

/**
 * KL(reference ‖ found) in nats, with every token outside the reference's top merged into one. Merging can only lower the
 * divergence; with 64 tokens it lowers it little.
 */
export function mergedDivergence(top: RealGolden["top"][number], found: Float64Array): number {
  let divergence = 0
  let restExpected = 1
  let restFound = 1
  for (const [i, token] of top.tokens.entries()) {
    const expected = top.logprobs[i] as number
    const ours = found[token] as number
    divergence += Math.exp(expected) * (expected - ours)
    restExpected -= Math.exp(expected)
    restFound -= Math.exp(ours)
  }
  if (restExpected > 0) divergence += restExpected * Math.log(restExpected / Math.max(restFound, Number.MIN_VALUE))
  return divergence
}
