/** Text generation on an engine: decodes tokens, applies stop strings, and hides control tokens. */

import { EngineError } from "../errors.ts"
import { Detokenizer, StopMatcher } from "../text/index.ts"
import type {
  EngineEvent,
  FinishReason,
  GenerateRequest,
  LoadedModel,
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
  /** Stop strings, up to 16. The text ends before the first one. */
  stop: string[]
  /** Continue after the model's end-of-generation tokens. */
  ignoreEos?: boolean
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
  | { type: "end"; index: number; reason: FinishReason; stopString?: string; usage: Usage }

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
  const stopTokens = request.ignoreEos ? new Set<number>() : tokenizer.eogIds
  const { promptTokens: tokens, stop, ignoreEos: _, shownTokens: shown, reportEnd, ...rest } = request
  const sequences = Array.from({ length: request.n ?? 1 }, () => {
    return new SequenceText(new Detokenizer(tokenizer, { shown }), stop, stopTokens, request.minTokens ?? 0)
  })
  for await (const event of engine.generate({ ...rest, tokens, stopTokens }, signal)) {
    const { index } = event
    const sequence = sequences[index]
    if (sequence === undefined)
      throw new EngineError(`the engine sent an event of sequence ${index}, but the request has ${sequences.length}`)
    if (event.type === "end") {
      const rest = sequence.stopString === undefined ? sequence.flush() : ""
      if (rest !== "") yield { type: "text", index, text: rest }
      yield sequence.end(event)
    } else if (sequence.takes(event.token)) {
      const { token, logprobs } = event
      const text = sequence.push(token)
      // Only its `end` event follows.
      if (sequence.stopString !== undefined) engine.endSequence(rest.id, index)
      yield logprobs ? { type: "text", index, text, token, logprobs } : { type: "text", index, text, token }
    } else if (reportEnd && sequence.stopString === undefined) yield { ...event, type: "text", text: "" }
  }
}

/** Decodes one sequence of a request. */
class SequenceText {
  /** The stop string that was found. */
  stopString: string | undefined
  readonly #matcher: StopMatcher
  #nTokens = 0

  constructor(
    readonly detokenizer: Detokenizer,
    stop: readonly string[],
    readonly stopTokens: ReadonlySet<number>,
    /** Stop strings in the text of earlier tokens are ignored. */
    readonly minTokens: number,
  ) {
    this.#matcher = new StopMatcher(stop)
  }

  /** Whether a token is part of the text: it stands before a stop string and is no stop token. */
  takes(token: number): boolean {
    return this.stopString === undefined && !this.stopTokens.has(token)
  }

  push(token: number): string {
    if (++this.#nTokens < this.minTokens) return this.detokenizer.push(token)
    const found = this.#matcher.push(this.detokenizer.push(token))
    this.stopString = found.stop
    return found.text
  }

  /** Returns the text that was held back. */
  flush(): string {
    const last = this.#matcher.push(this.detokenizer.flush())
    return last.text + (last.stop === undefined ? this.#matcher.flush() : "")
  }

  end({ index, reason, usage }: Extract<EngineEvent, { type: "end" }>): TextEvent {
    if (this.stopString === undefined) return { type: "end", index, reason, usage }
    return { type: "end", index, reason: "stop", stopString: this.stopString, usage }
  }
}
