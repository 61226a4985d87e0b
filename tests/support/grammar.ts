/** Vocabularies, and random texts under a constraint. */

import type { MetadataValue } from "../../src/gguf/metadata.ts"
import { openGguf } from "../../src/gguf/reader.ts"
import { compileConstraint } from "../../src/grammar/compile.ts"
import { type Constraint, constraintOf, type Form as RequestedForm } from "../../src/grammar/constraint.ts"
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

/** The vocabulary of a model; SmolLM2's has 49,152 tokens. */
export async function realVocabulary(model = "smollm2-135m"): Promise<Vocabulary> {
  const { metadata } = await openGguf(await resolveModel(model))
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key)?.value)
  return { tokenizer, trie: buildTrie(tokenizer, tokenizer.vocabSize) }
}

/** Random numbers from 0 to 1, fixed for a seed (mulberry32). */
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

function allowedTokens(mask: Uint32Array): number[] {
  const tokens: number[] = []
  for (const [w, word] of mask.entries()) {
    for (let bit = 0; word !== 0 && bit < 32; bit++) if (((word >>> bit) & 1) === 1) tokens.push(w * 32 + bit)
  }
  return tokens
}

/** Characters in order of preference, such that any JSON text reaches its end. */
const ENDINGS = ['"', "]", "}", "0", "1", ":", ",", "-", "\\", "n", "t", "f", "u", "l", "e", "a", "s", "r"]

/**
 * Generates a text of random allowed tokens. After `patience` tokens it prefers `endings`.
 * @returns `undefined` when the text did not end within `limit` tokens.
 * @param onState Called with every state.
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

/** Drops all states except this one. @returns its new number. */
function refreshed(masks: Masks, state: number): number {
  const kept = masks.automaton.snapshot(state)
  masks.forget()
  return masks.automaton.restore(kept)
}

/** Whether the constraint allows each token of the text and then its end. */
export function accepts(masks: Masks, { tokenizer }: Pick<Vocabulary, "tokenizer">, text: string): boolean {
  let state = masks.automaton.start()
  for (const token of tokenizer.encode(text)) {
    if (!isAllowed(masks.of(state), token)) return false
    state = masks.after(state, token)
  }
  return masks.automaton.ends[state] === 1
}

/** A constraint without `param`, or a form. */
export type Form =
  | (Constraint extends infer C ? (C extends Constraint ? Omit<C, "param"> : never) : never)
  | RequestedForm

/** The constraint; the schema of a form may be a value. */
export const constraintFor = (form: Form, param = "test"): Constraint =>
  form.type === "json_schema" && typeof form.schema !== "string"
    ? { ...form, ...constraintOf(form as RequestedForm, param) }
    : ({ ...form, param } as Constraint)

export const compiled = (form: Form, trie: TokenTrie, common?: Map<string, NodeTokens>): Masks =>
  compileConstraint(constraintFor(form), trie, common)
