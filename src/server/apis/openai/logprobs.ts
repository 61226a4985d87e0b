/** Token log-probabilities in OpenAI's two forms. */

import type { TokenLogprobs } from "../../../engine/types.ts"
import { Detokenizer } from "../../../text/index.ts"
import type { Tokenizer } from "../../../text/tokenizer/types.ts"
import type { ScoredToken } from "../../chat/choices.ts"
import type { ChatLogprobs } from "./chat-schema.ts"
import type { CompletionLogprobs } from "./completions-schema.ts"

const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** A token's text. Half a character shows as U+FFFD; `bytes` is exact. */
const tokenText = (tokenizer: Tokenizer, token: number): string => lossy.decode(tokenizer.tokenBytes(token))

export function chatLogprobsOf(tokenizer: Tokenizer, tokens: readonly ScoredToken[]): ChatLogprobs {
  const entry = (token: number, logprob: number) => ({
    token: tokenText(tokenizer, token),
    logprob,
    bytes: [...tokenizer.tokenBytes(token)],
  })
  return {
    content: tokens.map(({ token, logprobs }) => ({
      ...entry(token, logprobs.logprob),
      top_logprobs: logprobs.top.map((top) => entry(top.token, top.logprob)),
    })),
    refusal: null,
  }
}

/** Writes the form of completions, whose text offsets go on through a stream. Each choice has a writer of its own. */
export class CompletionLogprobsWriter {
  readonly #detokenizer: Detokenizer
  #offset = 0

  constructor(readonly tokenizer: Tokenizer) {
    this.#detokenizer = new Detokenizer(tokenizer)
  }

  /**
   * The prompt's tokens; to be called before {@link take}. The first token has no score, since nothing comes before it.
   * @param scores [tokens.length - 1]
   * @param text The prompt as the answer repeats it, which may lack the beginning token.
   */
  takePrompt(tokens: Int32Array, scores: readonly TokenLogprobs[], text: string): CompletionLogprobs {
    const detokenizer = new Detokenizer(this.tokenizer, { special: true, continuation: false })
    let end = 0
    const starts = Array.from(tokens, (token) => {
      const start = end
      end += detokenizer.push(token).length
      return start
    })
    const hidden = Math.max(0, end - text.length)
    this.#offset = text.length
    return {
      tokens: Array.from(tokens, (token) => tokenText(this.tokenizer, token)),
      token_logprobs: [null, ...scores.map(({ logprob }) => logprob)],
      top_logprobs: [null, ...scores.map((score) => this.#byText(score))],
      text_offset: starts.map((start) => Math.max(0, start - hidden)),
    }
  }

  /** The next tokens of this choice, in order. */
  take(tokens: readonly ScoredToken[]): CompletionLogprobs {
    return {
      tokens: tokens.map(({ token }) => tokenText(this.tokenizer, token)),
      token_logprobs: tokens.map(({ logprobs }) => logprobs.logprob),
      top_logprobs: tokens.map(({ logprobs }) => this.#byText(logprobs)),
      text_offset: tokens.map(({ token }) => {
        const start = this.#offset
        this.#offset += this.#detokenizer.push(token).length
        return start
      }),
    }
  }

  /** Several tokens can have the same text (halves of characters do); the most probable one is kept. */
  #byText({ top }: TokenLogprobs): Record<string, number> {
    const best = new Map<string, number>()
    for (const { token, logprob } of top) {
      const text = tokenText(this.tokenizer, token)
      best.set(text, Math.max(logprob, best.get(text) ?? Number.NEGATIVE_INFINITY))
    }
    return Object.fromEntries(best)
  }
}
