/** What a client saw of its requests, and what that comes to. Times are milliseconds of one clock. */

/** `lost`: neither tokens nor a clear answer (a broken connection, a 5xx without `Retry-After`, a stream without an end). */
export type Outcome = "served" | "refused" | "lost"

/** One request, from the moment it was due. */
export interface RequestRecord {
  /** When it was due: sending may lag behind it, and that is the client's wait as well. */
  due: number
  /** Arrival of each piece of text. */
  pieces: number[]
  end: number
  outcome: Outcome
  /** Of the answer; 0 where there was none. */
  status: number
  /** The server's count, or the pieces where it gives none. */
  tokens: number
  /** Prompt tokens that the server had in its cache. */
  cached: number
  text: string
  /** Times it was told to try again, and did. */
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
  /** Told to try again, and given up. */
  refused: number
  lost: number
  retries: number
  /** From the first request's due time to the last end. */
  seconds: number
  tokens: number
  tokens_per_second: number
  /** From due time to the first piece. */
  ttft_ms: Latency
  /** Between the pieces of one answer. */
  itl_ms: Latency
  /** Of what was lost, each once. */
  reasons: string[]
}

/** The smallest value that at least `share` (0 … 1) of all do not exceed: nearest rank. NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN
}

export function latency(values: readonly number[]): Latency {
  const at = (share: number) => percentile(values, share)
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}

/** Milliseconds between pieces that follow one another; `keep` chooses by the times of both. */
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

/** Milliseconds from the due time to the first piece; `undefined` without one. */
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
