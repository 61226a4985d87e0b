/** Vocabularies, and texts generated at random under a constraint. */

import type { MetadataValue } from "../../src/gguf/metadata.ts"
import { openGguf } from "../../src/gguf/reader.ts"
import { compileConstraint } from "../../src/grammar/compile.ts"
import type { Constraint } from "../../src/grammar/constraint.ts"
import type { Masks, NodeTokens } from "../../src/grammar/masks.ts"
import { buildTrie, type TokenTrie } from "../../src/grammar/token-trie.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { tokenizerFromMetadata } from "../../src/text/tokenizer/tokenizer.ts"
import type { Tokenizer } from "../../src/text/tokenizer/types.ts"
import { tinyTokenizer } from "./tiny-tokenizer.ts"

export interface Vocabulary {
  tokenizer: Tokenizer
  trie: TokenTrie
}

/** All bytes, and a few pairs of letters. */
export function tinyVocabulary(): Vocabulary {
  const metadata: Record<string, MetadataValue> = tinyTokenizer(400)
  const tokenizer = tokenizerFromMetadata((key) => metadata[key]?.value)
  return { tokenizer, trie: buildTrie(tokenizer, tokenizer.vocabSize) }
}

/** SmolLM2's 49,152 tokens. */
export async function realVocabulary(): Promise<Vocabulary> {
  const { metadata } = await openGguf(await resolveModel("smollm2-135m"))
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key)?.value)
  return { tokenizer, trie: buildTrie(tokenizer, tokenizer.vocabSize) }
}

/** Numbers from 0 to 1, the same ones for a seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export const isAllowed = (mask: Uint32Array, token: number): boolean =>
  (((mask[token >>> 5] as number) >>> (token & 31)) & 1) === 1

export function allowedTokens(mask: Uint32Array): number[] {
  const tokens: number[] = []
  for (const [w, word] of mask.entries()) {
    for (let bit = 0; word !== 0 && bit < 32; bit++) if (((word >>> bit) & 1) === 1) tokens.push(w * 32 + bit)
  }
  return tokens
}

/** What ends strings, numbers, lists and objects first: it brings any JSON to its end. */
const ENDINGS = ['"', "]", "}", "0", "1", ":", ",", "-", "\\", "n", "t", "f", "u", "l", "e", "a", "s", "r"]

/**
 * A text of random allowed tokens; after `patience` of them it makes for the end. `undefined` where it did not come within `limit`.
 * @param onState Called with every state on the way.
 */
export function randomText(
  masks: Masks,
  { trie, tokenizer }: Vocabulary,
  random: () => number,
  { patience = 30, limit = 600, endings = ENDINGS, onState = (_: number) => {} } = {},
): string | undefined {
  const single = new Map(endings.map((char) => [char, tokenizer.encode(char)[0] as number]))
  const bytes: number[] = []
  let state = masks.automaton.start()
  for (let i = 0; i < limit; i++) {
    onState(state)
    const mask = masks.of(state)
    const over = i >= patience
    const allowed = allowedTokens(mask)
    if (masks.automaton.ends[state] === 1 && (over || allowed.length === 0 || random() < 0.2)) {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes))
    }
    if (allowed.length === 0) throw new Error(`nothing is allowed after ${Buffer.from(bytes)}`)
    const ending =
      over && random() < 0.9 ? endings.find((char) => isAllowed(mask, single.get(char) as number)) : undefined
    const token = ending ? (single.get(ending) as number) : (allowed[Math.floor(random() * allowed.length)] as number)
    state = masks.after(state, token)
    if (state < 0) throw new Error(`token ${token} was allowed, and is not taken`)
    bytes.push(...trie.bytesOf(token))
    if (masks.automaton.isFull) state = refreshed(masks, state)
  }
  return undefined
}

/** The same state after all others were forgotten. */
function refreshed(masks: Masks, state: number): number {
  const kept = masks.automaton.snapshot(state)
  masks.forget()
  return masks.automaton.restore(kept)
}

/** Whether the constraint allows the text, token by token as the vocabulary writes it, and lets it end there. */
export function accepts(masks: Masks, { tokenizer }: Pick<Vocabulary, "tokenizer">, text: string): boolean {
  let state = masks.automaton.start()
  for (const token of tokenizer.encode(text)) {
    if (!isAllowed(masks.of(state), token)) return false
    state = masks.after(state, token)
  }
  return masks.automaton.ends[state] === 1
}

/** A constraint without the field that errors name. */
export type Form<C = Constraint> = C extends Constraint ? Omit<C, "param"> : never

export const compiled = (form: Form, trie: TokenTrie, common?: Map<string, NodeTokens>): Masks =>
  compileConstraint({ ...form, param: "test" } as Constraint, trie, common)
