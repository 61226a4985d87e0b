/** Runs the choices of one HTTP request side by side and brings their events together. */

import { generateText, type TextEvent, type TextRequest } from "../../engine/text.ts"
import type { FinishReason, LoadedModel, SamplingParams, Usage } from "../../engine/types.ts"
import { EngineError } from "../../errors.ts"
import type { Constraint } from "../../grammar/constraint.ts"
import type { UsageBody } from "../apis/openai/generation-schema.ts"
import type { ScoredToken } from "../apis/openai/logprobs.ts"
import { invalidRequest } from "../http/errors.ts"
import { GenerationWatch } from "../observe/generation-watch.ts"

/** One choice in the making; `prompt` is which of the request's prompts it continues. */
export interface Choice {
  readonly index: number
  readonly prompt: number
}

/** What the engine is asked for: the choices of one prompt. */
interface ChoiceRequest {
  /** Index of the first of its choices. */
  readonly first: number
  readonly request: TextRequest
}

/** All choices of an HTTP request. */
export interface Choices {
  readonly list: readonly Choice[]
  readonly requests: readonly ChoiceRequest[]
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
  /** Before so many tokens, nothing ends a choice but its limit. */
  readonly minTokens?: number
  readonly stop: string[]
  readonly ignoreEos: boolean
  /** The token that ends a choice is told, where there is one. */
  readonly reportEnd?: boolean
  /** Control tokens that come out as text. */
  readonly shownTokens?: ReadonlySet<number>
  /** What each choice's text must be. */
  readonly constraint?: Constraint
  /** Its place among other requests. */
  readonly standing: Standing
}

/** How a request stands beside others in the engine. */
export type Standing = Pick<TextRequest, "priority" | "key" | "cacheSalt" | "deadlineMs">

/** What a generation is run with: its name, what stops it, and its place among others. */
export interface Run {
  readonly id: string
  readonly controller: AbortController
  readonly standing: Standing
}

/** `n` choices for every prompt, numbered as OpenAI does: all of the first prompt's, then the next one's. */
export function makeChoices(model: LoadedModel, prompts: readonly Int32Array[], options: ChoiceOptions): Choices {
  const { contextLength } = model.engine.limits
  const { n } = options
  const list = Array.from({ length: prompts.length * n }, (_, index) => ({ index, prompt: Math.floor(index / n) }))
  const requests = prompts.map((promptTokens, prompt) => {
    const first = prompt * n
    const request: TextRequest = {
      id: `${options.id}-${first}`,
      n,
      promptTokens,
      sampling: options.sampling,
      maxTokens: options.maxTokens ?? contextLength - promptTokens.length,
      stop: options.stop,
      ...(options.minTokens && { minTokens: options.minTokens }),
      ignoreEos: options.ignoreEos,
      reportEnd: options.reportEnd,
      shownTokens: options.shownTokens,
      ...(options.constraint !== undefined && { constraint: options.constraint }),
      ...options.standing,
    }
    return { first, request }
  })
  return { list, requests }
}

/** @throws ApiError 400 when a prompt is empty, leaves no room for a token, or holds an unknown id; `param` names its field. */
export function checkPrompt(model: LoadedModel, tokens: ArrayLike<number>, param: string): void {
  const { contextLength, nVocab } = model.engine.limits
  if (tokens.length === 0)
    throw invalidRequest(`'${param}': the prompt is empty; give it at least one token.`, param, "invalid_value")
  if (tokens.length >= contextLength)
    throw invalidRequest(
      `The prompt has ${tokens.length} tokens, and the model's context holds ${contextLength} with the completion; shorten '${param}'.`,
      param,
      "context_length_exceeded",
    )
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] ?? 0
    if (token >= nVocab)
      throw invalidRequest(
        `'${param}': token ${token} does not exist; ids are 0 to ${nVocab - 1}.`,
        param,
        "invalid_value",
      )
  }
}

/**
 * Every choice's events as they come; each choice ends with one `end`. Aborting the controller stops all of them within a step, and
 * the first failure aborts it and is thrown.
 */
export function runChoices(
  model: LoadedModel,
  { requests }: Choices,
  controller: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  const runs = requests.map((request) => runOne(model, request, controller))
  const [only] = runs
  return runs.length === 1 && only !== undefined ? only : runAll(runs, controller)
}

/** The choices of one request to the engine. */
async function* runOne(
  model: LoadedModel,
  { first, request }: ChoiceRequest,
  controller: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  const watch = new GenerationWatch(model.name, request)
  let over = false
  try {
    for await (const event of generateText(model, watch.request, controller.signal)) {
      watch.event(event)
      yield { index: first + event.index, event }
    }
    over = true
  } catch (cause) {
    watch.failed()
    throw cause
  } finally {
    if (!over) controller.abort()
  }
}

/** Several of them side by side. */
async function* runAll(
  runs: readonly AsyncGenerator<ChoiceEvent, void, void>[],
  controller: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  const ready: ChoiceEvent[] = []
  let running = runs.length
  let failure: { cause: unknown } | undefined
  let wake = () => {}

  const follow = async (run: AsyncGenerator<ChoiceEvent, void, void>) => {
    try {
      for await (const event of run) {
        ready.push(event)
        wake()
      }
    } catch (cause) {
      failure ??= { cause }
    }
    running--
    wake()
  }
  const followed = runs.map(follow)

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
    if (running > 0) controller.abort()
    await Promise.all(followed)
  }
}

/** Token counts of a whole request; a prompt counts once, however many choices continue it. */
export class UsageTotal {
  #completion = 0
  readonly #prompts = new Map<number, { tokens: number; cached: number }>()

  add(choice: Choice, { promptTokens, completionTokens, cachedTokens }: Usage): void {
    this.#completion += completionTokens
    // Choices after the first find their prompt in the cache because the first has computed it.
    const cached = Math.min(cachedTokens, this.#prompts.get(choice.prompt)?.cached ?? cachedTokens)
    this.#prompts.set(choice.prompt, { tokens: promptTokens, cached })
  }

  toJSON(): UsageBody {
    const prompts = [...this.#prompts.values()]
    const prompt = prompts.reduce((sum, { tokens }) => sum + tokens, 0)
    return {
      prompt_tokens: prompt,
      completion_tokens: this.#completion,
      total_tokens: prompt + this.#completion,
      prompt_tokens_details: { cached_tokens: prompts.reduce((sum, { cached }) => sum + cached, 0) },
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
  choices: Choices,
  controller: AbortController,
): Promise<{ drafts: Draft[]; usage: UsageTotal }> {
  const usage = new UsageTotal()
  const drafts = choices.list.map((): Draft => ({ text: "", scored: [], reason: "stop" }))
  for await (const { index, event } of runChoices(model, choices, controller)) {
    const draft = drafts[index]
    const choice = choices.list[index]
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
