/** Text out of an engine: tokens become characters, stop strings end a request, and control tokens stay inside. */

import { Detokenizer, StopMatcher } from "../text/index.ts"
import type { LoadedModel } from "./load.ts"
import {
  EngineError,
  type EngineEvent,
  type FinishReason,
  type GenerateRequest,
  type SamplingParams,
  type TokenLogprobs,
  type Usage,
} from "./types.ts"

export interface TextRequest
  extends Pick<GenerateRequest, "n" | "min_tokens" | "priority" | "key" | "cache_salt" | "deadline_ms" | "constraint"> {
  /** Unique among the requests in flight. */
  id: string
  prompt_tokens: Int32Array
  sampling: SamplingParams
  max_tokens: number
  /** Texts that end the request and are not part of the answer; up to 16. */
  stop: string[]
  /** Go on after the model's end-of-generation tokens. */
  ignore_eos?: boolean
  /** The token that ends a choice comes as a `text` too, an empty one. */
  report_end?: boolean
  /** Control tokens that come out as their text, where by default they say nothing. */
  shown_tokens?: ReadonlySet<number>
}

/**
 * Of each of the request's `n` choices (`index`): one `text` for every token, empty while its text is held back (half a character, or
 * the beginning of a stop string), then one `end`. Text that was held back to the end comes in a `text` without a token.
 */
export type TextEvent =
  | { type: "text"; index: number; text: string; token?: number; logprobs?: TokenLogprobs }
  | { type: "end"; index: number; reason: FinishReason; stop_string?: string; usage: Usage }

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
  const stop_tokens = request.ignore_eos ? new Set<number>() : tokenizer.eogIds
  const { prompt_tokens: tokens, stop, ignore_eos: _, shown_tokens: shown, report_end, ...rest } = request
  const choices = Array.from({ length: request.n ?? 1 }, () => {
    return new ChoiceText(new Detokenizer(tokenizer, { shown }), stop, stop_tokens, request.min_tokens ?? 0)
  })
  for await (const event of engine.generate({ ...rest, tokens, stop_tokens }, signal)) {
    const { index } = event
    const choice = choices[index]
    if (choice === undefined) throw new EngineError(`the engine spoke of choice ${index} of ${choices.length}`)
    if (event.type === "end") {
      const rest = choice.stop_string === undefined ? choice.flush() : ""
      if (rest !== "") yield { type: "text", index, text: rest }
      yield choice.end(event)
    } else if (choice.hears(event.token)) {
      const { token, logprobs } = event
      const text = choice.push(token)
      // What the engine still says of it is its end.
      if (choice.stop_string !== undefined) engine.endChoice(rest.id, index)
      yield logprobs ? { type: "text", index, text, token, logprobs } : { type: "text", index, text, token }
    } else if (report_end && choice.stop_string === undefined) yield { ...event, type: "text", text: "" }
  }
}

/** The text of one choice so far. */
class ChoiceText {
  /** What it was stopped by. */
  stop_string: string | undefined
  readonly #matcher: StopMatcher
  #n_tokens = 0

  constructor(
    readonly detokenizer: Detokenizer,
    stop: readonly string[],
    readonly stopTokens: ReadonlySet<number>,
    /** Stop strings are looked for from this token on. */
    readonly min_tokens: number,
  ) {
    this.#matcher = new StopMatcher(stop)
  }

  hears(token: number): boolean {
    return this.stop_string === undefined && !this.stopTokens.has(token)
  }

  push(token: number): string {
    if (++this.#n_tokens < this.min_tokens) return this.detokenizer.push(token)
    const found = this.#matcher.push(this.detokenizer.push(token))
    this.stop_string = found.stop
    return found.text
  }

  /** What was held back. */
  flush(): string {
    const last = this.#matcher.push(this.detokenizer.flush())
    return last.text + (last.stop === undefined ? this.#matcher.flush() : "")
  }

  end({ index, reason, usage }: Extract<EngineEvent, { type: "end" }>): TextEvent {
    if (this.stop_string === undefined) return { type: "end", index, reason, usage }
    return { type: "end", index, reason: "stop", stop_string: this.stop_string, usage }
  }
}
