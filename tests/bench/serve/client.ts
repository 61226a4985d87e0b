/** A timed, streamed completion on any server with OpenAI's API. */

import { z } from "zod"
import type { RequestRecord } from "./measure.ts"

export interface Target {
  /** Base URL, without a trailing slash. */
  url: string
  model: string
  n_vocab: number
  /** Additional fields for every request, such as llama.cpp's `cache_prompt`. */
  extra: Readonly<Record<string, unknown>>
  /** How often a request is sent again after a refusal with Retry-After. */
  retries: number
}

export interface CompletionRequest {
  prompt: readonly number[]
  max_tokens: number
  /** When the request was due, as a `performance.now()` time. Default: now. */
  due?: number
  /** Called at every piece of text, with the number of pieces so far. */
  onPiece?: (pieces: number) => void
  signal?: AbortSignal
}

const event = z.object({
  choices: z.array(z.object({ text: z.string().nullish(), finish_reason: z.string().nullish() })).optional(),
  usage: z
    .object({
      completion_tokens: z.int(),
      prompt_tokens_details: z.object({ cached_tokens: z.int().nullish() }).nullish(),
    })
    .nullish(),
  error: z.unknown().optional(),
})

/** A refusal's Retry-After in seconds. `undefined` without one: such a 5xx counts as lost. */
const retryAfter = (response: Response): number | undefined => {
  const header = response.headers.get("retry-after")
  return header === null || !/^\d+$/.test(header) ? undefined : Number(header)
}

/** Sends a completion, with retries after refusals, and records its outcome. Never throws: a failure is recorded as well. */
export async function complete(target: Target, request: CompletionRequest): Promise<RequestRecord> {
  const record: RequestRecord = {
    due: request.due ?? performance.now(),
    pieces: [],
    end: 0,
    outcome: "lost",
    status: 0,
    tokens: 0,
    cached: 0,
    text: "",
    retries: 0,
  }
  try {
    for (;;) {
      const wait = await attempt(target, request, record)
      if (wait === undefined || record.retries >= target.retries) break
      record.retries++
      await Bun.sleep(wait * 1000)
    }
  } catch (error) {
    record.reason = error instanceof Error ? error.message : String(error)
  }
  record.end = performance.now()
  return record
}

/** @returns the seconds to wait, when the server refused the request with Retry-After */
async function attempt(target: Target, request: CompletionRequest, record: RequestRecord): Promise<number | undefined> {
  const response = await fetch(`${target.url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      model: target.model,
      prompt: request.prompt,
      max_tokens: request.max_tokens,
      temperature: 0,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
      ...target.extra,
    }),
    ...(request.signal && { signal: request.signal }),
  })
  record.status = response.status
  if (response.status === 429 || response.status === 503) {
    const wait = retryAfter(response)
    await response.body?.cancel()
    record.outcome = wait === undefined ? "lost" : "refused"
    if (wait === undefined) record.reason = `${response.status} without Retry-After`
    return wait
  }
  record.outcome = "lost"
  if (!response.ok || !response.body) {
    record.reason = `${response.status}: ${(await response.text()).slice(0, 200)}`
    return undefined
  }
  await readStream(response.body, request, record)
  return undefined
}

async function readStream(body: AsyncIterable<Uint8Array>, request: CompletionRequest, record: RequestRecord) {
  let counted: number | undefined
  let finished = false
  for await (const data of sseData(body)) {
    const now = performance.now()
    if (data === "[DONE]") continue
    const { choices, usage, error } = event.parse(JSON.parse(data))
    if (error !== undefined) throw new Error(`an error event: ${JSON.stringify(error).slice(0, 200)}`)
    for (const { text, finish_reason } of choices ?? []) {
      if (text) {
        record.text += text
        record.pieces.push(now)
        request.onPiece?.(record.pieces.length)
      }
      if (finish_reason) finished = true
    }
    if (usage) {
      counted = usage.completion_tokens
      record.cached = usage.prompt_tokens_details?.cached_tokens ?? 0
    }
  }
  record.tokens = counted ?? record.pieces.length
  if (finished) record.outcome = "served"
  else record.reason = "the stream ended without a finish reason"
}

/** Yields the data of each server-sent event, and skips comments (pings). */
export async function* sseData(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder()
  let rest = ""
  for await (const bytes of body) {
    rest += decoder.decode(bytes, { stream: true })
    const lines = rest.split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim()
  }
}
