/** Text out of an engine: tokens become characters, stop strings end a request, and control tokens stay inside. */

import { Detokenizer, StopMatcher } from "../text/index.ts"
import type { LoadedModel } from "./load.ts"
import type { FinishReason, GenerateRequest, SamplingParams, TokenLogprobs, Usage } from "./types.ts"

export interface TextRequest extends Pick<GenerateRequest, "priority" | "key" | "cache_salt" | "deadline_ms"> {
  /** Unique among the requests in flight. */
  id: string
  prompt_tokens: Int32Array
  sampling: SamplingParams
  max_tokens: number
  /** Texts that end the request and are not part of the answer; up to 16. */
  stop: string[]
  /** Go on after the model's end-of-generation tokens. */
  ignore_eos?: boolean
}

/**
 * One `text` for every token, empty while its text is held back (half a character, or the beginning of a stop string), then one
 * `end`. Text that was held back to the end comes in a `text` without a token.
 */
export type TextEvent =
  | { type: "text"; text: string; token?: number; logprobs?: TokenLogprobs }
  | { type: "end"; reason: FinishReason; stop_string?: string; usage: Usage }

/**
 * Generates text. Leaving the loop early, or aborting the signal, cancels the request within one step.
 * @throws StopError, RequestError, OverloadedError or EngineError
 */
export async function* generateText(
  { tokenizer, engine }: Pick<LoadedModel, "tokenizer" | "engine">,
  request: TextRequest,
  signal?: AbortSignal,
): AsyncGenerator<TextEvent, void, void> {
  const detokenizer = new Detokenizer(tokenizer)
  const matcher = new StopMatcher(request.stop)
  const stopped = new AbortController()
  const stop_tokens = request.ignore_eos ? new Set<number>() : tokenizer.eogIds
  const { prompt_tokens, stop: _stop, ignore_eos: _ignore, ...rest } = request
  const signals = signal ? AbortSignal.any([signal, stopped.signal]) : stopped.signal
  let stop_string: string | undefined
  for await (const event of engine.generate({ ...rest, tokens: prompt_tokens, stop_tokens }, signals)) {
    // A stop string was found: the engine was told, and what it still says is its end.
    if (event.type === "token" && stop_string === undefined) {
      if (stop_tokens.has(event.token)) continue
      const found = matcher.push(detokenizer.push(event.token))
      stop_string = found.stop
      const { token, logprobs } = event
      yield logprobs ? { type: "text", text: found.text, token, logprobs } : { type: "text", text: found.text, token }
      if (stop_string !== undefined) stopped.abort()
    } else if (event.type === "end" && stop_string !== undefined) {
      yield { type: "end", reason: "stop", stop_string, usage: event.usage }
    } else if (event.type === "end") {
      const last = matcher.push(detokenizer.flush())
      const text = last.text + (last.stop === undefined ? matcher.flush() : "")
      if (text !== "") yield { type: "text", text }
      yield { type: "end", reason: event.reason, usage: event.usage }
    }
  }
}
