/** Rules of sampling that are given as texts, in tokens: words that must not occur, and what breaks repetitions up. */

import { RequestError } from "../errors.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"

/** What breaks repetitions up by default: line breaks, and the punctuation of dialogues, lists and markup. */
const DRY_BREAKERS: readonly string[] = ["\n", ":", '"', "*"]

/** Most texts that break repetitions up; characters of such a text, and tokens after its first one, that count. */
const MAX_BREAKERS = 64
const MAX_BREAKER_LENGTH = 40
const MAX_BREAKER_TAIL = 20

/** Most words that can be excluded. */
const MAX_BAD_WORDS = 1024

type TokenSequence = readonly number[]
type TextEncoder = Pick<Tokenizer, "encode" | "addSpacePrefix">
type Vocabulary = TextEncoder & Pick<Tokenizer, "tokenText" | "vocabSize">

/** Tokens of a text that stands inside another one, so that no space is added before it. */
export function encodeInside(tokenizer: TextEncoder, text: string): number[] {
  if (!tokenizer.addSpacePrefix) return [...tokenizer.encode(text)]
  // No token of such a vocabulary joins a line break and what follows it.
  const line = tokenizer.encode("\n").length
  return [...tokenizer.encode(`\n${text}`)].slice(line)
}

/**
 * The token sequences of words that must not occur: each word as it stands at the start of a text, and after a space.
 * @throws RequestError for an empty word, and for more than 1024 words.
 */
export function badWordTokens(tokenizer: TextEncoder, words: readonly string[] = []): readonly TokenSequence[] {
  if (words.length > MAX_BAD_WORDS)
    throw invalid("badWords", `there are ${words.length} bad words; at most ${MAX_BAD_WORDS} are possible`)
  const sequences = new Map<string, TokenSequence>()
  for (const word of words) {
    const bare = word.trimStart()
    if (bare === "") throw invalid("badWords", "a bad word is empty; leave it out")
    for (const text of new Set([bare, ` ${bare}`])) {
      const tokens = encodeInside(tokenizer, text)
      sequences.set(tokens.join(), tokens)
    }
  }
  return [...sequences.values()]
}

/** Sequences of breakers by their texts; one table a tokenizer. */
const breakers = new WeakMap<object, Map<string, readonly TokenSequence[]>>()
/** Lists of breakers that a table keeps. */
const KEPT_LISTS = 32

/**
 * All token sequences by which one of these texts can come into a text: every token that contains it, and every token that ends with its
 * beginning, followed by the tokens of the rest.
 * @throws RequestError for more than 64 texts.
 */
export function breakerTokens(
  tokenizer: Vocabulary,
  texts: readonly string[] = DRY_BREAKERS,
): readonly TokenSequence[] {
  if (texts.length > MAX_BREAKERS)
    throw invalid(
      "drySequenceBreakers",
      `there are ${texts.length} sequence breakers; at most ${MAX_BREAKERS} are possible`,
    )
  const table = breakers.get(tokenizer) ?? new Map<string, readonly TokenSequence[]>()
  breakers.set(tokenizer, table)
  const key = JSON.stringify(texts)
  const known = table.get(key)
  if (known !== undefined) return known
  const found = findBreakers(
    tokenizer,
    texts.map((text) => text.slice(0, MAX_BREAKER_LENGTH)).filter((text) => text !== ""),
  )
  if (table.size >= KEPT_LISTS) table.clear()
  table.set(key, found)
  return found
}

function findBreakers(tokenizer: Vocabulary, texts: readonly string[]): TokenSequence[] {
  const tails = new Map<string, TokenSequence>()
  const tailOf = (rest: string): TokenSequence => {
    const tail = tails.get(rest) ?? encodeInside(tokenizer, rest).slice(0, MAX_BREAKER_TAIL)
    tails.set(rest, tail)
    return tail
  }
  const found: TokenSequence[] = []
  for (let token = 0; token < tokenizer.vocabSize; token++) {
    const piece = tokenizer.tokenText(token)
    if (piece === undefined || piece === "") continue
    for (const text of texts) {
      if (piece.includes(text)) found.push([token])
      else
        for (let n = Math.min(piece.length, text.length - 1); n > 0; n--)
          if (piece.endsWith(text.slice(0, n))) found.push([token, ...tailOf(text.slice(n))])
    }
  }
  return found
}

const invalid = (param: string, message: string): RequestError => new RequestError(message, param, "invalid_value")
