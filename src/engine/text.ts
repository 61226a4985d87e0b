/** Text generation on an engine: decodes tokens, applies stop strings, and hides control tokens. */

import { EngineError } from "../errors.ts"
import type { Constraint } from "../grammar/constraint.ts"
import { Detokenizer, type ScopedText, StopMatcher, StopScope } from "../text/index.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"
import type {
  EngineEvent,
  FinishReason,
  GenerateRequest,
  LoadedModel,
  PromptProgress,
  SamplingParams,
  TokenLogprobs,
  Usage,
} from "./types.ts"

export interface TextRequest
  extends Pick<GenerateRequest, "n" | "minTokens" | "priority" | "key" | "cacheSalt" | "deadlineMs" | "constraint"> {
  /** Unique among the requests in flight. */
  id: string
  promptTokens: Int32Array
  sampling: SamplingParams
  maxTokens: number
  /** Stop strings, up to 64. The text ends before the first one. */
  stop: string[]
  /**
   * Stop strings also count in calls of tools, and in the strings of JSON, where the constraint asks for these. A stop string does not
   * extend across the border of a part in which it does not count.
   */
  stopEverywhere?: boolean
  /** Tokens that end a sequence beside the model's own. */
  stopTokenIds?: ReadonlySet<number>
  /** The stop string or stop token that ends the text is part of it. */
  includeStop?: boolean
  /** false: the text of all control tokens is part of the output. */
  skipSpecialTokens?: boolean
  /** Called with each piece of the text of sequence `index`; true ends the sequence, as if it were cancelled. */
  endsAfter?: (index: number, text: string) => boolean
  /** Called with the progress of the prompt, in order, before the first event. */
  onProgress?: (progress: PromptProgress) => void
  /** Continue after the model's end-of-generation tokens. */
  ignoreEos?: boolean
  /** Milliseconds after a sequence's first token at which it ends, as at `maxTokens`. */
  maxMs?: number
  /** Report the stop token that ends a sequence as a `text` event with empty text. */
  reportEnd?: boolean
  /** Control tokens whose text is part of the output. By default it is not. */
  shownTokens?: ReadonlySet<number>
}

/**
 * For each of the request's `n` sequences (`index`): one `text` per token, then one `end`. The text is empty while characters are held back
 * (an incomplete character, or the start of a stop string). Text that was held back until the end comes in a `text` without a token.
 */
export type TextEvent =
  | { type: "text"; index: number; text: string; token?: number; logprobs?: TokenLogprobs }
  | {
      type: "end"
      index: number
      reason: FinishReason
      /** The stop string that ended the text. */
      stopString?: string
      /** The one of `stopTokenIds` that ended it. */
      stopToken?: number
      usage: Usage
    }

/**
 * Generates text. Leaving the loop early, or aborting the signal, cancels the request within one step. A stop string ends its sequence in
 * the same way.
 * @throws StopError, RequestError, OverloadedError or EngineError
 */
export async function* generateText(
  { tokenizer, engine }: Pick<LoadedModel, "tokenizer" | "engine">,
  request: TextRequest,
  signal?: AbortSignal,
): AsyncGenerator<TextEvent, void, void> {
  const endTokens = request.ignoreEos ? new Set<number>() : tokenizer.eogIds
  const { promptTokens: tokens, reportEnd, ...rest } = request
  const {
    stop: _,
    stopEverywhere: _where,
    maxMs: _ms,
    onProgress,
    endsAfter,
    ignoreEos: _eos,
    includeStop: _with,
    shownTokens: _shown,
    skipSpecialTokens: _skip,
    ...own
  } = rest
  const sequences = Array.from({ length: request.n ?? 1 }, (_, index) => {
    return new SequenceText(tokenizer, request, index, endTokens)
  })
  for await (const event of engine.generate(
    { ...own, tokens, stopTokens: endTokens, ...(onProgress && { progress: true }) },
    signal,
  )) {
    if (event.type === "progress") {
      onProgress?.({ processed: event.processed, cached: event.cached })
      continue
    }
    const { index } = event
    const sequence = sequences[index]
    if (sequence === undefined)
      throw new EngineError(`the engine sent an event of sequence ${index}, but the request has ${sequences.length}`)
    if (event.type === "end") {
      const rest = sequence.stopString === undefined ? sequence.flush() : ""
      if (rest !== "") yield { type: "text", index, text: rest }
      yield sequence.end(event)
    } else if (!sequence.over) {
      const { token, logprobs } = event
      const ends = sequence.isEnd(token)
      const text = sequence.push(token)
      // Only its `end` event follows.
      if (sequence.over || endsAfter?.(index, text)) engine.endSequence(own.id, index)
      if (ends && text === "" && !reportEnd) continue
      yield logprobs ? { type: "text", index, text, token, logprobs } : { type: "text", index, text, token }
    }
  }
}

/** Decodes one sequence of a request. */
class SequenceText {
  /** The stop string that was found. */
  stopString: string | undefined
  #stopToken: number | undefined
  readonly #detokenizer: Detokenizer
  #matcher: StopMatcher
  readonly #scope: StopScope | undefined
  #nTokens = 0
  /** When the first token came, in milliseconds. */
  #startedAt: number | undefined
  #timedOut = false

  constructor(
    tokenizer: Tokenizer,
    readonly request: TextRequest,
    readonly index: number,
    readonly endTokens: ReadonlySet<number>,
  ) {
    const { shownTokens: shown, skipSpecialTokens, stop } = request
    this.#detokenizer = new Detokenizer(tokenizer, { shown, special: skipSpecialTokens === false })
    this.#matcher = new StopMatcher(stop)
    this.#scope = stop.length === 0 || request.stopEverywhere ? undefined : scopeOf(request.constraint)
  }

  /** Whether no more of the sequence's tokens count. */
  get over(): boolean {
    return this.stopString !== undefined || this.#timedOut
  }

  /** Whether a token ends the sequence: an end token of the model, or a stop token. */
  isEnd(token: number): boolean {
    return this.endTokens.has(token) || this.request.stopTokenIds?.has(token) === true
  }

  /** Returns the text that a token completes. What ends the sequence has none, unless the request includes it. */
  push(token: number): string {
    const { includeStop, stopTokenIds, maxMs } = this.request
    if (stopTokenIds?.has(token)) this.#stopToken = token
    if (!includeStop && this.isEnd(token)) return ""
    this.#nTokens++
    this.#startedAt ??= performance.now()
    if (maxMs !== undefined && performance.now() - this.#startedAt >= maxMs) this.#timedOut = true
    return this.#scan(this.#parts(this.#detokenizer.push(token)))
  }

  /** Returns the text that was held back. */
  flush(): string {
    const parts = [...this.#parts(this.#detokenizer.flush()), ...(this.#scope?.flush() ?? [])]
    const last = this.#scan(parts)
    return this.stopString === undefined ? last + this.#matcher.flush() : last
  }

  end({ index, reason, usage }: Extract<EngineEvent, { type: "end" }>): TextEvent {
    if (this.stopString !== undefined) return { type: "end", index, reason: "stop", stopString: this.stopString, usage }
    if (this.#timedOut) return { type: "end", index, reason: reason === "cancelled" ? "length" : reason, usage }
    if (reason !== "stop" || this.#stopToken === undefined) return { type: "end", index, reason, usage }
    return { type: "end", index, reason, stopToken: this.#stopToken, usage }
  }

  #parts(text: string): ScopedText[] {
    return this.#scope?.push(text) ?? [{ text, stops: true }]
  }

  /** Looks for stop strings. Those in the text of the first `minTokens` tokens are ignored, as are those where they do not count. */
  #scan(parts: readonly ScopedText[]): string {
    const { stop, includeStop, minTokens = 0 } = this.request
    let text = ""
    for (const part of parts) {
      if (this.#nTokens < minTokens) text += part.text
      else if (part.stops) {
        const found = this.#matcher.push(part.text)
        this.stopString = found.stop
        text += found.text
        if (found.stop !== undefined) return includeStop ? text + found.stop : text
      } else {
        text += this.#matcher.flush() + part.text
        this.#matcher = new StopMatcher(stop)
      }
    }
    return text
  }
}

/** Where stop strings count in a text of this form. `undefined`: everywhere. */
function scopeOf(constraint: Constraint | undefined): StopScope | undefined {
  if (constraint?.type === "tools") {
    const { trigger, answer, reasoning } = constraint
    return new StopScope({ trigger, json: answer !== undefined, reasoning })
  }
  const json = constraint?.type === "json_object" || constraint?.type === "json_schema"
  return json ? new StopScope({ json, reasoning: constraint.reasoning }) : undefined
}
