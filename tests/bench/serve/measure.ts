/** Client-side records of requests, and their summary. Times are milliseconds of `performance.now()`. */

/** `lost`: a broken connection, a 5xx without `Retry-After`, or a stream without an end. */
export type Outcome = "served" | "refused" | "lost"

/** The record of one request. */
export interface RequestRecord {
  /** When the request was due. It may be sent later; latencies include that delay. */
  due: number
  /** Arrival time of each piece of text. */
  pieces: number[]
  end: number
  outcome: Outcome
  /** HTTP status of the answer; 0 without an answer. */
  status: number
  /** Generated tokens as counted by the server, or else the number of pieces. */
  tokens: number
  /** Prompt tokens that came from the server's prefix cache. */
  cached: number
  text: string
  /** Number of retries after refusals. */
  retries: number
  reason?: string
}

export interface Latency {
  p50: number
  p95: number
  p99: number
  max: number
}

export interface LoadReport {
  requests: number
  served: number
  /** Requests that were still refused after all retries. */
  refused: number
  lost: number
  retries: number
  /** Time from the first request's due time to the last request's end. */
  seconds: number
  tokens: number
  tokens_per_second: number
  /** Time to first token: from the due time to the first piece. */
  ttft_ms: Latency
  /** Inter-token latency: time between consecutive pieces of one answer. */
  itl_ms: Latency
  /** The distinct reasons of lost requests. */
  reasons: string[]
}

/** Nearest-rank percentile: the smallest value that is >= at least `share` (0 … 1) of all values. NaN for an empty list. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

export function latency(values: readonly number[]): Latency {
  const at = (share: number) => percentile(values, share)
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}

/** Milliseconds between consecutive pieces; `keep` selects gaps by the times of both pieces. */
export function gaps(
  { pieces }: Pick<RequestRecord, "pieces">,
  keep: (before: number, at: number) => boolean = () => true,
): number[] {
  const found: number[] = []
  for (let i = 1; i < pieces.length; i++) {
    const [before, at] = [pieces[i - 1] ?? 0, pieces[i] ?? 0]
    if (keep(before, at)) found.push(at - before)
  }
  return found
}

/** Milliseconds from the due time to the first piece; `undefined` without a piece. */
export function firstPiece({ due, pieces }: Pick<RequestRecord, "due" | "pieces">): number | undefined {
  return pieces[0] === undefined ? undefined : pieces[0] - due
}

export function summarize(records: readonly RequestRecord[]): LoadReport {
  const count = (outcome: Outcome) => records.filter((record) => record.outcome === outcome).length
  const served = records.filter(({ outcome }) => outcome === "served")
  const total = (of: (record: RequestRecord) => number) => records.reduce((sum, record) => sum + of(record), 0)
  const start = Math.min(...records.map(({ due }) => due))
  const seconds = records.length === 0 ? 0 : (Math.max(...records.map(({ end }) => end)) - start) / 1000
  const tokens = total((record) => record.tokens)
  return {
    requests: records.length,
    served: served.length,
    refused: count("refused"),
    lost: count("lost"),
    retries: total(({ retries }) => retries),
    seconds,
    tokens,
    tokens_per_second: seconds > 0 ? tokens / seconds : 0,
    ttft_ms: latency(served.map(firstPiece).filter((each) => each !== undefined)),
    itl_ms: latency(served.flatMap((record) => gaps(record))),
    reasons: [...new Set(records.flatMap(({ outcome, reason }) => (outcome === "lost" && reason ? [reason] : [])))],
  }
}
