/** Runs the choices of one HTTP request side by side and brings their events together. */

import type { LoadedModel } from "../engine/load.ts"
import { generateText, type TextEvent, type TextRequest } from "../engine/text.ts"
import { EngineError, type FinishReason, type SamplingParams, type Usage } from "../engine/types.ts"
import { invalidRequest } from "./errors.ts"
import type { ScoredToken } from "./logprobs.ts"
import { forChoice } from "./sampling.ts"
import type { UsageBody } from "./schemas/generation.ts"

/** One choice in the making; `prompt` is which of the request's prompts it continues. */
export interface Choice {
  readonly index: number
  readonly prompt: number
  readonly request: TextRequest
}

export interface ChoiceEvent {
  readonly index: number
  readonly event: TextEvent
}

/** What all choices of a request share. */
export interface ChoiceOptions {
  readonly id: string
  readonly n: number
  readonly sampling: SamplingParams
  /** `undefined`: what the prompt leaves of the context. */
  readonly maxTokens: number | undefined
  readonly stop: string[]
  readonly ignoreEos: boolean
  /** Its place among other requests. */
  readonly standing: Standing
}

/** How a request stands beside others in the engine. */
export type Standing = Pick<TextRequest, "priority" | "key" | "cache_salt" | "deadline_ms">

/** `n` choices for every prompt, numbered as OpenAI does: all of the first prompt's, then the next one's. */
export function makeChoices(model: LoadedModel, prompts: readonly Int32Array[], options: ChoiceOptions): Choice[] {
  const { context_length } = model.engine.limits
  return prompts.flatMap((tokens, prompt) =>
    Array.from({ length: options.n }, (_, k) => {
      const index = prompt * options.n + k
      return {
        index,
        prompt,
        request: {
          id: `${options.id}-${index}`,
          prompt_tokens: tokens,
          sampling: forChoice(options.sampling, k),
          max_tokens: options.maxTokens ?? context_length - tokens.length,
          stop: options.stop,
          ignore_eos: options.ignoreEos,
          ...options.standing,
        },
      }
    }),
  )
}

/** @throws ApiError 400 when a prompt is empty, leaves no room for a token, or holds an unknown id; `param` names its field. */
export function checkPrompt(model: LoadedModel, tokens: ArrayLike<number>, param: string): void {
  const { context_length, n_vocab } = model.engine.limits
  if (tokens.length === 0)
    throw invalidRequest(`'${param}': the prompt is empty; give it at least one token.`, param, "invalid_value")
  if (tokens.length >= context_length)
    throw invalidRequest(
      `The prompt has ${tokens.length} tokens, and the model's context holds ${context_length} with the completion; shorten '${param}'.`,
      param,
      "context_length_exceeded",
    )
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] ?? 0
    if (token >= n_vocab)
      throw invalidRequest(
        `'${param}': token ${token} does not exist; ids are 0 to ${n_vocab - 1}.`,
        param,
        "invalid_value",
      )
  }
}

/**
 * Every choice's events as they come; each choice ends with one `end`. Aborting the controller stops all of them within a step, and
 * the first failure aborts it and is thrown.
 */
export async function* runChoices(
  model: LoadedModel,
  choices: readonly Choice[],
  controller: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  const ready: ChoiceEvent[] = []
  let running = choices.length
  let failure: { cause: unknown } | undefined
  let wake = () => {}

  const run = async ({ index, request }: Choice) => {
    try {
      for await (const event of generateText(model, request, controller.signal)) {
        ready.push({ index, event })
        wake()
      }
    } catch (cause) {
      failure ??= { cause }
      controller.abort()
    }
    running--
    wake()
  }
  const runs = choices.map(run)

  try {
    for (;;) {
      // Taken as one batch: a step's tokens of all choices arrive together.
      for (const item of ready.splice(0)) yield item
      if (ready.length > 0) continue
      if (failure !== undefined) throw failure.cause
      if (running === 0) return
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  } finally {
    controller.abort()
    await Promise.all(runs)
  }
}

/** Token counts of a whole request; a prompt counts once, however many choices continue it. */
export class UsageTotal {
  #prompt = 0
  #completion = 0
  #cached = 0
  readonly #seen = new Set<number>()

  add(choice: Choice, usage: Usage): void {
    this.#completion += usage.completion_tokens
    if (this.#seen.has(choice.prompt)) return
    this.#seen.add(choice.prompt)
    this.#prompt += usage.prompt_tokens
    this.#cached += usage.cached_tokens
  }

  toJSON(): UsageBody {
    return {
      prompt_tokens: this.#prompt,
      completion_tokens: this.#completion,
      total_tokens: this.#prompt + this.#completion,
      prompt_tokens_details: { cached_tokens: this.#cached },
    }
  }
}

/** A finished choice. */
export interface Draft {
  text: string
  /** Empty unless log-probabilities were asked for. */
  scored: ScoredToken[]
  reason: "stop" | "length"
}

/** Runs every choice to its end. */
export async function collect(
  model: LoadedModel,
  choices: readonly Choice[],
  controller: AbortController,
): Promise<{ drafts: Draft[]; usage: UsageTotal }> {
  const usage = new UsageTotal()
  const drafts = choices.map((): Draft => ({ text: "", scored: [], reason: "stop" }))
  for await (const { index, event } of runChoices(model, choices, controller)) {
    const draft = drafts[index]
    const choice = choices[index]
    if (draft === undefined || choice === undefined) continue
    if (event.type === "end") {
      draft.reason = finished(event.reason, controller.signal)
      usage.add(choice, event.usage)
      continue
    }
    draft.text += event.text
    const { token, logprobs } = event
    if (token !== undefined && logprobs !== undefined) draft.scored.push({ token, logprobs })
  }
  return { drafts, usage }
}

/**
 * The finish reason to send.
 * @throws for `cancelled` what the request was stopped with: either the client is gone and nobody reads it, or the server is shutting
 * down and it must know.
 */
export function finished(reason: FinishReason, { reason: cause }: AbortSignal): "stop" | "length" {
  if (reason !== "cancelled") return reason
  throw cause instanceof Error ? cause : new EngineError("the request was cancelled before it ended")
}
