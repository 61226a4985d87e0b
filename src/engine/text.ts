/** Text out of an engine: tokens become characters, stop strings end a request, and control tokens stay inside. */

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
  /** Texts that end the request and are not part of the answer; up to 16. */
  stop: string[]
  /** Go on after the model's end-of-generation tokens. */
  ignoreEos?: boolean
  /** The token that ends a choice comes as a `text` too, an empty one. */
  reportEnd?: boolean
  /** Control tokens that come out as their text, where by default they say nothing. */
  shownTokens?: ReadonlySet<number>
}

/**
 * Of each of the request's `n` choices (`index`): one `text` for every token, empty while its text is held back (half a character, or
 * the beginning of a stop string), then one `end`. Text that was held back to the end comes in a `text` without a token.
 */
export type TextEvent =
  | { type: "text"; index: number; text: string; token?: number; logprobs?: TokenLogprobs }
  | { type: "end"; index: number; reason: FinishReason; stopString?: string; usage: Usage }

/**
 * Generates text. Leaving the loop early, or aborting the signal, cancels the request within one step; a choice that meets a
 * stop string is ended so.
 * @throws StopError, RequestError, OverloadedError or EngineError
 */
export async function* generateText(
  { tokenizer, engine }: Pick<LoadedModel, "tokenizer" | "engine">,
  request: TextRequest,
  signal?: AbortSignal,
): AsyncGenerator<TextEvent, void, void> {
  const stopTokens = request.ignoreEos ? new Set<number>() : tokenizer.eogIds
  const { promptTokens: tokens, stop, ignoreEos: _, shownTokens: shown, reportEnd, ...rest } = request
  const choices = Array.from({ length: request.n ?? 1 }, () => {
    return new ChoiceText(new Detokenizer(tokenizer, { shown }), stop, stopTokens, request.minTokens ?? 0)
  })
  for await (const event of engine.generate({ ...rest, tokens, stopTokens }, signal)) {
    const { index } = event
    const choice = choices[index]
    if (choice === undefined) throw new EngineError(`the engine spoke of choice ${index} of ${choices.length}`)
    if (event.type === "end") {
      const rest = choice.stopString === undefined ? choice.flush() : ""
      if (rest !== "") yield { type: "text", index, text: rest }
      yield choice.end(event)
    } else if (choice.hears(event.token)) {
      const { token, logprobs } = event
      const text = choice.push(token)
      // What the engine still says of it is its end.
      if (choice.stopString !== undefined) engine.endSequence(rest.id, index)
      yield logprobs ? { type: "text", index, text, token, logprobs } : { type: "text", index, text, token }
    } else if (reportEnd && choice.stopString === undefined) yield { ...event, type: "text", text: "" }
  }
}

/** The text of one choice so far. */
class ChoiceText {
  /** What it was stopped by. */
  stopString: string | undefined
  readonly #matcher: StopMatcher
  #nTokens = 0

  constructor(
    readonly detokenizer: Detokenizer,
    stop: readonly string[],
    readonly stopTokens: ReadonlySet<number>,
    /** Stop strings are looked for from this token on. */
    readonly minTokens: number,
  ) {
    this.#matcher = new StopMatcher(stop)
  }

  hears(token: number): boolean {
    return this.stopString === undefined && !this.stopTokens.has(token)
  }

  push(token: number): string {
    if (++this.#nTokens < this.minTokens) return this.detokenizer.push(token)
    const found = this.#matcher.push(this.detokenizer.push(token))
    this.stopString = found.stop
    return found.text
  }

  /** What was held back. */
  flush(): string {
    const last = this.#matcher.push(this.detokenizer.flush())
    return last.text + (last.stop === undefined ? this.#matcher.flush() : "")
  }

  end({ index, reason, usage }: Extract<EngineEvent, { type: "end" }>): TextEvent {
    if (this.stopString === undefined) return { type: "end", index, reason, usage }
    return { type: "end", index, reason: "stop", stopString: this.stopString, usage }
  }
}
