/** Token log-probabilities in the two shapes that OpenAI gives them. */

import type { TokenLogprobs } from "../engine/types.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"
import type { ChatLogprobs } from "./schemas/chat.ts"
import type { CompletionLogprobs } from "./schemas/completions.ts"

/** A generated token with its log-probabilities. */
export interface ScoredToken {
  readonly token: number
  readonly logprobs: TokenLogprobs
}

const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** A token's text; half a character shows as U+FFFD (`bytes` has it exactly). */
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

/** Collects the older form, whose offsets count on through a stream: one for each choice. */
export class CompletionLogprobsWriter {
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  #offset = 0

  constructor(readonly tokenizer: Tokenizer) {}

  /** The next tokens of this choice, in order. */
  take(tokens: readonly ScoredToken[]): CompletionLogprobs {
    return {
      tokens: tokens.map(({ token }) => tokenText(this.tokenizer, token)),
      token_logprobs: tokens.map(({ logprobs }) => logprobs.logprob),
      top_logprobs: tokens.map(({ logprobs }) =>
        Object.fromEntries(logprobs.top.map((top) => [tokenText(this.tokenizer, top.token), top.logprob])),
      ),
      text_offset: tokens.map(({ token }) => {
        const start = this.#offset
        this.#offset += this.#decoder.decode(this.tokenizer.tokenBytes(token), { stream: true }).length
        return start
      }),
    }
  }
}
