/** Effect of a long prompt on the streams that are decoding when it arrives. */

import { complete, type Target } from "./client.ts"
import { firstPiece, gaps, percentile, type RequestRecord } from "./measure.ts"
import { randomPrompt } from "./random.ts"

export interface InterferenceOptions {
  streams: number
  /** Tokens of the long prompt. */
  long: number
  /** Prompt tokens that the server computes in one step while other requests decode (`--chunk-size`). */
  chunk: number
  rounds: number
}

export interface InterferenceReport extends InterferenceOptions {
  /** Time between tokens: while the streams run alone, and from the long prompt's arrival to its first token. */
  alone_ms: { p50: number; p99: number }
  during_ms: { p50: number; p99: number }
  /** Estimated duration of one chunk: the idle server's time for such a prompt, divided by its number of chunks. */
  chunk_ms: number
  /** Limit for the disturbed latency: 3 × undisturbed p50 + one chunk. */
  bound_ms: number
  long_ttft_ms: number
  passed: boolean
}

/** Tokens that every stream generates before the long prompt is sent, as warm-up. */
const STRIDE = 48
const PROMPT = 64
const CHUNK_RUNS = 3

export async function interference(
  target: Target,
  options: InterferenceOptions,
  seed: number,
): Promise<InterferenceReport> {
  const { streams, long, chunk, rounds } = options
  let next = seed * 1_000_003
  const prompt = (length: number) => randomPrompt(length, next++, target.n_vocab)
  const idle: number[] = []
  for (let i = 0; i < CHUNK_RUNS; i++) {
    idle.push(firstPiece(served(await complete(target, { prompt: prompt(long), max_tokens: 1 }))) ?? Number.NaN)
  }
  const alone: number[] = []
  const during: number[] = []
  const ttfts: number[] = []
  for (let round = 0; round < rounds; round++) {
    const warm = Array.from({ length: streams }, () => Promise.withResolvers<void>())
    const stop = new AbortController()
    // More tokens than the streams ever generate: they are aborted when the long prompt has been answered.
    const running = warm.map(({ resolve }) =>
      complete(target, {
        prompt: prompt(PROMPT),
        max_tokens: STRIDE + long,
        signal: stop.signal,
        onPiece: (pieces) => pieces === STRIDE && resolve(),
      }),
    )
    await Promise.race([Promise.all(warm.map(({ promise }) => promise)), Promise.all(running)])
    const quiet = performance.now()
    await Bun.sleep(1000)
    const arrival = performance.now()
    const disturbing = served(await complete(target, { prompt: prompt(long), max_tokens: 1 }))
    const answered = disturbing.pieces[0] ?? Number.NaN
    stop.abort()
    for (const record of await Promise.all(running)) {
      if (record.pieces.length < STRIDE) throw new Error(`a stream ended early: ${record.reason ?? record.outcome}`)
      alone.push(...gaps(record, (_, at) => at >= quiet && at < arrival))
      during.push(...gaps(record, (before, at) => at >= arrival && before <= answered))
    }
    ttfts.push(answered - arrival)
  }
  const alone_ms = { p50: percentile(alone, 0.5), p99: percentile(alone, 0.99) }
  const chunk_ms = (percentile(idle, 0.5) * chunk) / long
  const during_ms = { p50: percentile(during, 0.5), p99: percentile(during, 0.99) }
  const bound_ms = 3 * alone_ms.p50 + chunk_ms
  return {
    ...options,
    alone_ms,
    during_ms,
    chunk_ms,
    bound_ms,
    long_ttft_ms: percentile(ttfts, 0.5),
    passed: during_ms.p99 < bound_ms,
  }
}

function served(record: RequestRecord): RequestRecord {
  if (record.outcome !== "served") throw new Error(`a request was ${record.outcome}: ${record.reason ?? record.status}`)
  return record
}
