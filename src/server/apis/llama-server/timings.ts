/** What llama-server adds to answers: `timings`, and `prompt_progress` in streams. */

import { z } from "zod"
import type { PromptProgress } from "../../../engine/types.ts"
import type { TimedUsage } from "../../chat/choices.ts"

const n = z.int().min(0)
const ms = z.number().min(0)

export const timings = z
  .object({
    cache_n: n.describe("Prompt tokens that were found in the prefix cache."),
    prompt_n: n.describe("Prompt tokens that were computed."),
    prompt_ms: ms.describe("Milliseconds from the request to its first token."),
    prompt_per_token_ms: ms,
    prompt_per_second: z.number().min(0),
    predicted_n: n,
    predicted_ms: ms.describe(
      "Milliseconds from the first token to the last, so that rates do not count the first one.",
    ),
    predicted_per_token_ms: ms,
    predicted_per_second: z.number().min(0),
  })
  .describe("Token counts and times, as llama-server reports them.")
type Timings = z.output<typeof timings>

export const promptProgress = z
  .object({ total: n, cache: n, processed: n, time_ms: z.int().min(0) })
  .describe("How many of the prompt's tokens are computed, or were found in the cache.")
type PromptProgressBody = z.output<typeof promptProgress>

type Counts = Pick<TimedUsage, "promptTokens" | "cachedTokens" | "completionTokens" | "prefillMs" | "decodeMs">

export function timingsOf({ promptTokens, cachedTokens, completionTokens, prefillMs, decodeMs }: Counts): Timings {
  const computed = Math.max(0, promptTokens - cachedTokens)
  // The first token comes with the prompt's last step.
  const steps = Math.max(0, completionTokens - 1)
  return {
    cache_n: cachedTokens,
    prompt_n: computed,
    prompt_ms: prefillMs,
    prompt_per_token_ms: ratio(prefillMs, computed),
    prompt_per_second: 1000 * ratio(computed, prefillMs),
    predicted_n: completionTokens,
    predicted_ms: decodeMs,
    predicted_per_token_ms: ratio(decodeMs, steps),
    predicted_per_second: 1000 * ratio(steps, decodeMs),
  }
}

const ratio = (a: number, b: number): number => (b > 0 ? a / b : 0)

/** Follows one prompt and its answer while they are computed, for the events of a stream. */
export class LiveTimings {
  readonly #startedAt = performance.now()
  #promptMs = 0
  #firstAt: number | undefined
  #lastAt = 0
  #tokens = 0
  #progress: PromptProgress = { processed: 0, cached: 0 }
  readonly #waiting: PromptProgressBody[] = []
  #wake = () => {}

  /** Tokens of the prompt; to be set before its first progress. */
  promptTokens = 0

  readonly onProgress = (progress: PromptProgress): void => {
    this.#progress = progress
    const { processed, cached } = progress
    if (processed > cached) this.#promptMs = performance.now() - this.#startedAt
    const time_ms = Math.round(this.#promptMs)
    this.#waiting.push({ total: this.promptTokens, cache: cached, processed, time_ms })
    this.#wake()
  }

  /** A token of the answer has arrived. */
  token(): void {
    this.#lastAt = performance.now()
    this.#firstAt ??= this.#lastAt
    this.#tokens++
  }

  /** The times so far. */
  body(): Timings {
    const { processed, cached } = this.#progress
    return timingsOf({
      promptTokens: processed,
      cachedTokens: cached,
      completionTokens: this.#tokens,
      prefillMs: this.#promptMs,
      decodeMs: this.#lastAt - (this.#firstAt ?? this.#lastAt),
    })
  }

  /** The events, and before the first of them the prompt's progress as it comes. */
  async *withProgress<T>(events: AsyncGenerator<T, void, void>): AsyncGenerator<T | PromptProgressBody, void, void> {
    try {
      const first = events.next()
      let arrived = false
      const settle = () => {
        arrived = true
        this.#wake()
      }
      first.then(settle, settle)
      while (!arrived || this.#waiting.length > 0) {
        yield* this.#waiting.splice(0)
        if (!arrived)
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
      }
      const next = await first
      if (next.done) return
      yield next.value
      yield* events
    } finally {
      await events.return()
    }
  }
}
