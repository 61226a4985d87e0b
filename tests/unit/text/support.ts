import { test } from "bun:test"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { tokenizerFromMetadata } from "../../../src/text/tokenizer/tokenizer.ts"
import { type Tokenizer, TokenType } from "../../../src/text/tokenizer/types.ts"

/** Folder of test data that is too large for the repository; by default beside the checkout. */
const DATA = process.env.ROCMFORGE_TEST_DATA ?? resolve(import.meta.dir, "../../../../shared/data")

/** A test that needs this data. Without the data it is skipped, unless ROCMFORGE_TEST_DATA names a folder: then the data must exist. */
export const vocabularyTest = test.skipIf(!process.env.ROCMFORGE_TEST_DATA && !existsSync(DATA))

/** Names of the vocabularies with test vectors. */
export const VOCABULARIES = ["llama-spm", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm"] as const
export type Vocabulary = (typeof VOCABULARIES)[number]

/** Path of a file of a vocabulary. @throws if the file is missing, with a message that says where to put it */
export function vocabularyFile(name: Vocabulary, suffix = ""): string {
  const path = join(DATA, "tokenizers", `${name}.gguf${suffix}`)
  if (!existsSync(path)) {
    throw new Error(
      `${path} is missing; set ROCMFORGE_TEST_DATA to a folder that has tokenizers/ (llama.cpp's ggml-vocab files)`,
    )
  }
  return path
}

const loaded = new Map<string, Promise<Tokenizer>>()

async function load(name: Vocabulary, overrides: Record<string, unknown>): Promise<Tokenizer> {
  const { metadata } = await openGguf(vocabularyFile(name))
  return tokenizerFromMetadata((key) => (key in overrides ? overrides[key] : metadata.get(key)?.value))
}

/** The tokenizer of a vocabulary, with some metadata replaced. */
export function vocabulary(name: Vocabulary, overrides: Record<string, unknown> = {}): Promise<Tokenizer> {
  const key = name + JSON.stringify(overrides)
  let tokenizer = loaded.get(key)
  if (!tokenizer) {
    tokenizer = load(name, overrides)
    loaded.set(key, tokenizer)
  }
  return tokenizer
}

/** Deterministic random numbers below `n` (mulberry32). */
export function seeded(seed: number): (n: number) => number {
  let state = seed
  return (n) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % n
  }
}

/** The 256 byte characters of byte-level BPE, from their definition: printable Latin-1, then U+0100 on. */
function byteAlphabet(): string[] {
  let next = 0x100
  return Array.from({ length: 256 }, (_, b) => {
    const own = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b < 0xad) || b > 0xad
    return String.fromCharCode(own ? b : next++)
  })
}

/** Metadata of a small byte-level vocabulary: the bytes, the results of `merges`, then `<|end|>` (control) and `<tool>` (user-defined). */
export function tinyBpe(merges: readonly string[], overrides: Record<string, unknown> = {}): Map<string, unknown> {
  const tokens = [...new Set([...byteAlphabet(), ...merges.map((merge) => merge.replace(" ", ""))])]
  const types = tokens.map(() => TokenType.normal as number)
  tokens.push("<|end|>", "<tool>", "<|begin|>")
  types.push(TokenType.control, TokenType.userDefined, TokenType.control)
  return new Map<string, unknown>(
    Object.entries({
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.pre": "gpt-2",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": Int32Array.from(types),
      "tokenizer.ggml.merges": merges,
      "tokenizer.ggml.eos_token_id": tokens.indexOf("<|end|>"),
      "tokenizer.ggml.bos_token_id": tokens.indexOf("<|begin|>"),
      ...overrides,
    }),
  )
}

/** Metadata of a small SentencePiece vocabulary: `<unk> <s> </s>`, 256 bytes, then `pieces` with their scores. */
export function tinySpm(pieces: Record<string, number>, overrides: Record<string, unknown> = {}): Map<string, unknown> {
  const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`)
  const words = Object.keys(pieces)
  const types = [
    TokenType.unknown,
    TokenType.control,
    TokenType.control,
    ...bytes.map(() => TokenType.byte),
    ...words.map(() => TokenType.normal),
  ]
  return new Map<string, unknown>(
    Object.entries({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", ...bytes, ...words],
      "tokenizer.ggml.token_type": Int32Array.from(types),
      "tokenizer.ggml.scores": Float32Array.from([0, 0, 0, ...bytes.map(() => 0), ...Object.values(pieces)]),
      ...overrides,
    }),
  )
}

/** The tokenizer for this metadata. */
export function build(metadata: Map<string, unknown>): Tokenizer {
  return tokenizerFromMetadata((key) => metadata.get(key))
}

/** The pieces of the vocabulary for these ids. */
export function pieces(tokenizer: Tokenizer, text: string, options = {}): string[] {
  return [...tokenizer.encode(text, options)].map((id) => tokenizer.piece(id))
}
