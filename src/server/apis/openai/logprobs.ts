/** Token log-probabilities in OpenAI's two forms. */

import { sideBySide } from "../../../async.ts"
import { scoreTokens } from "../../../engine/prefill-only.ts"
import type { LoadedModel, TokenLogprobs } from "../../../engine/types.ts"
import { Detokenizer } from "../../../text/index.ts"
import type { Tokenizer } from "../../../text/tokenizer/types.ts"
import type { RunContext, ScoredToken } from "../../chat/choices.ts"
import type { ChatLogprobs, ChatResponse } from "./chat-schema.ts"
import type { CompletionLogprobs } from "./completions-schema.ts"

const lossy = new TextDecoder("utf-8", { ignoreBOM: true })

/** A token's text. Half a character shows as U+FFFD; `bytes` is exact. */
const tokenText = (tokenizer: Tokenizer, token: number): string => lossy.decode(tokenizer.tokenBytes(token))

/** A token's id in place of its text, which several tokens can share. */
const tokenIdText = (_tokenizer: Tokenizer, token: number): string => `token_id:${token}`

/** @param asIds Write the ids of tokens in place of their texts. */
export function chatLogprobsOf(tokenizer: Tokenizer, tokens: readonly ScoredToken[], asIds = false): ChatLogprobs {
  const written = asIds ? tokenIdText : tokenText
  const entry = (token: number, logprob: number) => ({
    token: written(tokenizer, token),
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
  readonly #written: (token: number) => string
  #offset = 0

  /** @param asIds Write the ids of tokens in place of their texts. */
  constructor(
    readonly tokenizer: Tokenizer,
    asIds = false,
  ) {
    this.#written = (token) => (asIds ? tokenIdText : tokenText)(tokenizer, token)
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
      tokens: Array.from(tokens, (token) => this.#written(token)),
      token_logprobs: [null, ...scores.map(({ logprob }) => logprob)],
      top_logprobs: [null, ...scores.map((score) => this.#byText(score))],
      text_offset: starts.map((start) => Math.max(0, start - hidden)),
    }
  }

  /** The next tokens of this choice, in order. */
  take(tokens: readonly ScoredToken[]): CompletionLogprobs {
    return {
      tokens: tokens.map(({ token }) => this.#written(token)),
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
      const text = this.#written(token)
      best.set(text, Math.max(logprob, best.get(text) ?? Number.NEGATIVE_INFINITY))
    }
    return Object.fromEntries(best)
  }
}

type PromptLogprobs = NonNullable<ChatResponse["prompt_logprobs"]>

/**
 * vLLM's form of a prompt's log-probabilities: for each token but the first, its own and its alternatives' by id. Ranks are known among
 * the alternatives.
 * @param scores [tokens.length - 1]
 */
export const promptLogprobsOf = (
  tokenizer: Tokenizer,
  tokens: Int32Array,
  scores: readonly TokenLogprobs[],
): PromptLogprobs => [
  null,
  ...scores.map(({ logprob, top }, i) => {
    const token = tokens[i + 1] ?? 0
    const own = { token, logprob, rank: null }
    const ranked = top.map((each, place) => ({ ...each, rank: place + 1 }))
    const all = ranked.some((each) => each.token === token) ? ranked : [own, ...ranked]
    return Object.fromEntries(
      all.map(({ token, logprob, rank }) => [token, { logprob, rank, decoded_token: tokenText(tokenizer, token) }]),
    )
  }),
]

/**
 * The scores of prompts' tokens from the second on. @param top Alternatives for each token.
 * @throws RequestError, EngineError, OverloadedError
 */
export const scorePrompts = (
  { engine }: LoadedModel,
  { id, controller, queue }: RunContext,
  prompts: readonly Int32Array[],
  top: number,
): Promise<TokenLogprobs[][]> =>
  sideBySide(prompts, engine.limits.maxSeqs, controller, async (tokens, index) => {
    if (tokens.length < 2) return []
    return (await scoreTokens(engine, { ...queue, id: `${id}-prompt-${index}`, tokens, top }, controller.signal)).scores
  })
