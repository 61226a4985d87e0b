/** Runs the choices of one HTTP request side by side, and merges their events. */

import { generateText, type TextEvent, type TextRequest } from "../../engine/text.ts"
import type {
  FinishReason,
  LoadedModel,
  PromptProgress,
  SamplingParams,
  TokenLogprobs,
  Usage,
} from "../../engine/types.ts"
import { ContextOverflowError, EngineError, fieldMessage, RequestError } from "../../errors.ts"
import type { Constraint } from "../../grammar/constraint.ts"
import { GenerationWatch } from "../observe/generation-watch.ts"
import type { FieldKey, GenerationRequest } from "./request.ts"
import { knownToken, samplingOf } from "./sampling.ts"
import { generateWithin, type ThinkingBudget } from "./thinking-budget.ts"

/** A generated token with its log-probabilities. */
export interface ScoredToken {
  readonly token: number
  readonly logprobs: TokenLogprobs
}

/** One choice; `prompt` is the index of the prompt that it continues. */
interface Choice {
  readonly index: number
  readonly prompt: number
}

/** A request to the engine: the choices of one prompt. */
interface ChoiceRequest {
  /** Index of the first of its choices. */
  readonly first: number
  readonly request: TextRequest
  readonly thinking?: ThinkingBudget
}

/** All choices of an HTTP request. */
export interface Choices {
  readonly list: readonly Choice[]
  readonly requests: readonly ChoiceRequest[]
  /** Tokens that end a text, and are not part of it. */
  readonly endTokens: ReadonlySet<number>
}

interface ChoiceEvent {
  readonly index: number
  readonly event: TextEvent
}

/** What a caller adds to a request's choices. */
interface ChoiceOptions {
  /** Report the end token of a choice too. */
  readonly reportEnd?: boolean
  /** Control tokens that come out as text. */
  readonly shownTokens?: ReadonlySet<number>
  /** What each choice's text must be. */
  readonly constraint?: Constraint
  /** Called with each piece of a choice's text; true ends the choice, as if it were cancelled. */
  readonly endsAfter?: (index: number, text: string) => boolean
  /** The limit of each choice's thoughts. */
  readonly thinking?: ThinkingBudget
}

/** What decides a request's place in the engine's queue and cache. */
export type QueueInfo = Pick<TextRequest, "priority" | "key" | "cacheSalt" | "deadlineMs">

/** What runs a generation beside the request itself. */
export interface RunContext {
  readonly id: string
  /** Stops the generation. */
  readonly controller: AbortController
  readonly queue: QueueInfo
  /** Draw as llama.cpp does with the same seed. */
  readonly generator?: SamplingParams["generator"]
  /** Called with the progress of the first prompt. */
  readonly onProgress?: (progress: PromptProgress) => void
}

/**
 * `n` choices for every prompt, numbered prompt by prompt.
 * @throws RequestError for a token that does not exist, and for too many words.
 */
export function makeChoices(
  model: LoadedModel,
  prompts: readonly Int32Array[],
  request: GenerationRequest,
  { id, queue, onProgress, generator = "philox" }: RunContext,
  { thinking, endsAfter, ...options }: ChoiceOptions = {},
): Choices {
  const { limits } = model.engine
  const { n = 1, maxTokens, minTokens, stop = [], ignoreEos = false, includeStop, skipSpecialTokens } = request
  const { stopEverywhere, timeLimitMs, tokenIds } = request
  const stopTokenIds =
    request.stopTokenIds && new Set(request.stopTokenIds.map((token) => knownToken("stopTokenIds", token, limits)))
  const sampling = { ...samplingOf(model, request), generator }
  const list = Array.from({ length: prompts.length * n }, (_, index) => ({ index, prompt: Math.floor(index / n) }))
  const requests = prompts.flatMap((promptTokens, prompt) => {
    const first = prompt * n
    const request: TextRequest = {
      id: `${id}-${first}`,
      n,
      promptTokens,
      sampling,
      maxTokens: maxTokens ?? limits.contextLength - promptTokens.length,
      stop: [...stop],
      ...(stopTokenIds && { stopTokenIds }),
      ...(minTokens && { minTokens }),
      ignoreEos,
      ...(includeStop && { includeStop }),
      ...(skipSpecialTokens === false && { skipSpecialTokens }),
      ...(stopEverywhere && { stopEverywhere }),
      ...(timeLimitMs !== undefined && { maxMs: timeLimitMs }),
      ...(tokenIds && { reportEnd: true }),
      ...options,
      ...queue,
      ...(endsAfter && { endsAfter: (index: number, text: string) => endsAfter(first + index, text) }),
      ...(prompt === 0 && onProgress && { onProgress }),
    }
    if (thinking === undefined) return [{ first, request }]
    // The thoughts of each choice end elsewhere, so each is a request of its own, with the seed that it has among the others.
    return Array.from({ length: n }, (_, i) => {
      const seed = BigInt.asUintN(64, sampling.seed + BigInt(i))
      const one = { ...request, id: `${id}-${first + i}`, n: 1, sampling: { ...sampling, seed } }
      return { first: first + i, request: one, thinking }
    })
  })
  const ends = [...(ignoreEos ? [] : model.tokenizer.eogIds), ...(stopTokenIds ?? [])]
  return { list, requests, endTokens: new Set(ends) }
}

/** @throws RequestError that names `field` when a prompt is empty, leaves no room for a token, or holds an unknown id. */
export function checkPrompt(model: LoadedModel, tokens: ArrayLike<number>, field: FieldKey): void {
  const { contextLength, nVocab } = model.engine.limits
  if (tokens.length === 0)
    throw new RequestError(
      fieldMessage`'{${field}}': the prompt is empty; give it at least one token.`,
      field,
      "invalid_value",
    )
  if (tokens.length >= contextLength) throw new ContextOverflowError(tokens.length, contextLength, field)
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] ?? 0
    if (token >= nVocab)
      throw new RequestError(
        fieldMessage`'{${field}}': token ${token} does not exist; ids are 0 to ${nVocab - 1}.`,
        field,
        "invalid_value",
      )
  }
}

/**
 * The events of all choices in the order of their arrival; each choice ends with one `end`. Aborting the controller stops all choices
 * within a step. The first failure aborts it and is thrown.
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

/** The choices of one prompt. */
async function* runOne(
  model: LoadedModel,
  { first, request, thinking }: ChoiceRequest,
  controller: AbortController,
): AsyncGenerator<ChoiceEvent, void, void> {
  const watch = new GenerationWatch(model.name, request)
  let over = false
  try {
    const events = thinking
      ? generateWithin(model, watch.request, thinking, controller.signal)
      : generateText(model, watch.request, controller.signal)
    for await (const event of events) {
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

/** The choices of several prompts side by side. */
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

/** Token counts of a whole request. */
export interface TokenUsage {
  readonly promptTokens: number
  /** Prompt tokens that were found in the prefix cache. */
  readonly cachedTokens: number
  readonly completionTokens: number
  /** Completion tokens of the reasoning; `undefined`: the answer has none. */
  readonly reasoningTokens?: number
}

/** Token counts of a whole request that has ended, and its times. */
export interface TimedUsage extends TokenUsage {
  /** Milliseconds to the first token of the first choice, and from the first to the last token of the slowest choice. */
  readonly prefillMs: number
  readonly decodeMs: number
}

/** Adds up the choices of a request. A prompt counts once, however many choices continue it. */
export class UsageTotal {
  #completion = 0
  #prefillMs = 0
  #decodeMs = 0
  readonly #prompts = new Map<number, { tokens: number; cached: number }>()

  add(choice: Choice, { promptTokens, completionTokens, cachedTokens, prefillMs, decodeMs }: Usage): void {
    this.#completion += completionTokens
    if (choice.index === 0) this.#prefillMs = prefillMs
    this.#decodeMs = Math.max(this.#decodeMs, decodeMs)
    // Choices after the first find their prompt in the cache because the first has computed it.
    const cached = Math.min(cachedTokens, this.#prompts.get(choice.prompt)?.cached ?? cachedTokens)
    this.#prompts.set(choice.prompt, { tokens: promptTokens, cached })
  }

  total(): TimedUsage {
    const prompts = [...this.#prompts.values()]
    return {
      promptTokens: prompts.reduce((sum, { tokens }) => sum + tokens, 0),
      cachedTokens: prompts.reduce((sum, { cached }) => sum + cached, 0),
      completionTokens: this.#completion,
      prefillMs: this.#prefillMs,
      decodeMs: this.#decodeMs,
    }
  }
}

/** The whole text of a choice that has ended. */
export interface CompletedChoice {
  text: string
  /** Empty unless log-probabilities were asked for. */
  scored: ScoredToken[]
  tokens: number[]
  reason: "stop" | "length"
}

/** Runs every choice to its end. */
export async function collect(
  model: LoadedModel,
  choices: Choices,
  controller: AbortController,
): Promise<{ completed: CompletedChoice[]; usage: TimedUsage }> {
  const usage = new UsageTotal()
  const completed = choices.list.map((): CompletedChoice => ({ text: "", scored: [], tokens: [], reason: "stop" }))
  for await (const { index, event } of runChoices(model, choices, controller)) {
    const done = completed[index]
    const choice = choices.list[index]
    if (done === undefined || choice === undefined) continue
    if (event.type === "end") {
      done.reason = finished(event.reason, controller.signal)
      usage.add(choice, event.usage)
      continue
    }
    done.text += event.text
    const { token, logprobs } = event
    if (token !== undefined) done.tokens.push(token)
    if (token !== undefined && logprobs !== undefined) done.scored.push({ token, logprobs })
  }
  return { completed, usage: usage.total() }
}

/**
 * The finish reason to send.
 * @throws for `cancelled` the reason of the abort: the client is gone, so that nobody reads it, or the server is shutting down.
 */
export function finished(reason: FinishReason, { reason: cause }: AbortSignal): "stop" | "length" {
  if (reason !== "cancelled") return reason
  throw cause instanceof Error ? cause : new EngineError("the request was cancelled before it ended")
}
