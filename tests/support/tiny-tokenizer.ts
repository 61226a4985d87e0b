/** Tokenizer metadata for tiny models: byte-level BPE over all 256 bytes, a few merges, and ChatML. */

import { type MetadataValue, meta } from "../../src/gguf/metadata.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"

export const TINY_TOKENS = { END_OF_TEXT: 0, IM_START: 1, IM_END: 2, FIRST_BYTE: 3 } as const

const SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

const NORMAL = 1
const CONTROL = 3

/** @param vocab total number of tokens, at least 259; merges fill the ids that bytes and special tokens do not use. */
export function tinyTokenizer(vocab: number): Record<string, MetadataValue> {
  const tokens = [...SPECIALS, ...BYTE_TO_CHAR]
  const known = new Set(tokens)
  const merges: string[] = []
  for (const [left, right] of mergePairs()) {
    if (tokens.length >= vocab) break
    if (known.has(left + right)) continue
    merges.push(`${left} ${right}`)
    tokens.push(left + right)
    known.add(left + right)
  }
  if (tokens.length !== vocab) throw new RangeError(`a tiny vocabulary has 259 to 961 tokens, not ${vocab}`)
  const types = tokens.map((_, id) => (id < SPECIALS.length ? CONTROL : NORMAL))
  return {
    "tokenizer.ggml.model": meta.string("gpt2"),
    "tokenizer.ggml.pre": meta.string("gpt-2"),
    "tokenizer.ggml.tokens": meta.strings(tokens),
    "tokenizer.ggml.token_type": meta.i32s(types),
    "tokenizer.ggml.merges": meta.strings(merges),
    "tokenizer.ggml.bos_token_id": meta.u32(TINY_TOKENS.END_OF_TEXT),
    "tokenizer.ggml.eos_token_id": meta.u32(TINY_TOKENS.IM_END),
    "tokenizer.ggml.add_bos_token": meta.bool(false),
    "tokenizer.chat_template": meta.string(CHATML),
  }
}

/** Frequent English pieces (a space is written Ġ), then every pair of lower-case letters. */
function* mergePairs(): Generator<[string, string]> {
  yield* [
    ["t", "h"],
    ["Ġ", "th"],
    ["Ġth", "e"],
    ["i", "n"],
    ["e", "r"],
    ["Ġ", "a"],
    ["o", "n"],
    ["in", "g"],
    ["Ġ", "w"],
    ["r", "e"],
    ["Ġ", "o"],
    ["o", "u"],
    ["Ġa", "n"],
    ["Ġan", "d"],
  ] satisfies [string, string][]
  const letters = [..."abcdefghijklmnopqrstuvwxyz"]
  for (const a of letters) for (const b of letters) yield [a, b]
}
