/** Time saved by the prefix cache, for a repeated long prompt and for another prompt with the same prefix. */

import { complete, type Target } from "./client.ts"
import { firstPiece, percentile, type RequestRecord } from "./measure.ts"
import { randomPrompt } from "./random.ts"

export interface PrefixOptions {
  /** Tokens of the shared prefix, and tokens of each prompt after it. */
  prefix: number
  own: number
  generate: number
  rounds: number
}

export interface PrefixReport extends PrefixOptions {
  /** Median time to first token: nothing cached, the same prompt again, and another prompt with the same prefix. */
  ttft_ms: { cold: number; same: number; prefix: number }
  /** Median over the rounds of cold / cached. */
  ratio: { same: number; prefix: number }
  /** Cached prompt tokens in the last round. */
  cached: { same: number; prefix: number }
  /** Rounds in which the second answer had the same text as the first. */
  equal: number
  /** True when the first token came at least 8 times sooner, with equal answers in all rounds. */
  passed: boolean
}

const WANTED = 8

export async function prefix(target: Target, options: PrefixOptions, seed: number): Promise<PrefixReport> {
  const { own, generate, rounds } = options
  const times: Record<"cold" | "same" | "prefix", number[]> = { cold: [], same: [], prefix: [] }
  let next = seed * 1_000_003
  let equal = 0
  const cached = { same: 0, prefix: 0 }
  const random = (length: number) => randomPrompt(length, next++, target.n_vocab)
  const send = async (prompt: number[]) => served(await complete(target, { prompt, max_tokens: generate }))
  await send(random(own))
  for (let round = 0; round < rounds; round++) {
    const common = random(options.prefix)
    const question = random(own)
    const cold = await send([...common, ...question])
    const same = await send([...common, ...question])
    const other = await send([...common, ...random(own)])
    times.cold.push(firstPiece(cold) ?? Number.NaN)
    times.same.push(firstPiece(same) ?? Number.NaN)
    times.prefix.push(firstPiece(other) ?? Number.NaN)
    if (same.text === cold.text && same.tokens === cold.tokens) equal++
    Object.assign(cached, { same: same.cached, prefix: other.cached })
  }
  const median = (values: readonly number[]) => percentile(values, 0.5)
  const over = (which: "same" | "prefix") => median(times.cold.map((ms, i) => ms / (times[which][i] ?? Number.NaN)))
  const ratio = { same: over("same"), prefix: over("prefix") }
  return {
    ...options,
    ttft_ms: { cold: median(times.cold), same: median(times.same), prefix: median(times.prefix) },
    ratio,
    cached,
    equal,
    passed: Math.min(ratio.same, ratio.prefix) >= WANTED && equal === rounds,
  }
}

function served(record: RequestRecord): RequestRecord {
  if (record.outcome !== "served") throw new Error(`a request was ${record.outcome}: ${record.reason ?? record.status}`)
  return record
}
