/**
 * DRY ("don't repeat yourself", P. E. Weidmann 2024): penalties for tokens that would extend a repetition. Where the last n tokens stand
 * earlier in the text too, the token that followed them there is penalised by `multiplier` · `base` ^ (n - `allowedLength`).
 */

import type { SamplingParams } from "./types.ts"

type DryParams = Pick<
  SamplingParams,
  "dryMultiplier" | "dryBase" | "dryAllowedLength" | "dryPenaltyLastN" | "drySequenceBreakers"
>

/** Greatest penalty. It is as good as excluding the token, and finite, so that the others' order stays. */
const MAX_PENALTY = 1e9

/** For each list of breakers, what follows the first token of each one. */
const tailsOf = new WeakMap<object, Map<number, (readonly number[])[]>>()

function breakerTails(breakers: DryParams["drySequenceBreakers"]): Map<number, (readonly number[])[]> {
  const known = tailsOf.get(breakers)
  if (known !== undefined) return known
  const tails = new Map<number, (readonly number[])[]>()
  for (const [head, ...tail] of breakers) {
    if (head === undefined) continue
    const list = tails.get(head)
    if (list === undefined) tails.set(head, [tail])
    else list.push(tail)
  }
  tailsOf.set(breakers, tails)
  return tails
}

/**
 * The penalty of each token that would extend a repetition after the first `nTokens` tokens. Takes time in proportion to the tokens that
 * it looks at: all, or the last `dryPenaltyLastN`.
 */
export function dryPenalties(
  tokenAt: (position: number) => number,
  nTokens: number,
  params: DryParams,
): Map<number, number> {
  const { dryMultiplier, dryBase, dryAllowedLength, dryPenaltyLastN, drySequenceBreakers } = params
  const penalties = new Map<number, number>()
  const size = dryPenaltyLastN < 0 ? nTokens : Math.min(dryPenaltyLastN, nTokens)
  // The last token comes first.
  const text = Int32Array.from({ length: size }, (_, i) => tokenAt(nTokens - 1 - i))
  const tails = breakerTails(drySequenceBreakers)
  const longest = sinceBreaker(text, tails)
  if (longest < dryAllowedLength) return penalties
  const lengths = new Map<number, number>()
  for (const [at, matched] of prefixLengths(text).entries()) {
    const length = Math.min(matched, longest)
    const next = text[at - 1]
    if (next === undefined || length < dryAllowedLength || length <= (lengths.get(next) ?? -1)) continue
    // A breaker may always follow.
    if (!tails.get(next)?.some((tail) => tail.length === 0)) lengths.set(next, length)
  }
  for (const [token, length] of lengths)
    penalties.set(token, Math.min(dryMultiplier * dryBase ** (length - dryAllowedLength), MAX_PENALTY))
  return penalties
}

/** Tokens after the last breaker, of a text whose last token comes first. Of breakers that begin alike the longest counts. */
function sinceBreaker(text: Int32Array, tails: ReadonlyMap<number, readonly (readonly number[])[]>): number {
  for (const [at, head] of text.entries()) {
    let longest = -1
    for (const tail of tails.get(head) ?? []) {
      const matches = tail.length <= at && tail.every((token, i) => text[at - 1 - i] === token)
      if (matches) longest = Math.max(longest, tail.length)
    }
    if (longest >= 0) return at - longest
  }
  return text.length
}

/** For each position, how many tokens from it on are the same as from the start on (the Z function). 0 for the start itself. */
function prefixLengths(text: Int32Array): Int32Array {
  const lengths = new Int32Array(text.length)
  // The match that reaches farthest: where it begins and ends.
  let begin = 0
  let end = 0
  for (let at = 1; at < text.length; at++) {
    let length = at < end ? Math.min(end - at, lengths[at - begin] as number) : 0
    while (at + length < text.length && text[length] === text[at + length]) length++
    lengths[at] = length
    if (at + length > end) {
      begin = at
      end = at + length
    }
  }
  return lengths
}
