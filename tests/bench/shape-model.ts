/** Writes model files with the shape of a real model and random weights, for benchmarks. */

import { type FormatName, formatNamed, rowBytes } from "../../src/gguf/formats.ts"
import { type MetadataValue, meta } from "../../src/gguf/metadata.ts"
import { type TensorSource, writeGguf } from "../../src/gguf/writer.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"
import { randomBlocks } from "../support/kernel-weights.ts"

export interface Shape {
  layers: number
  hidden: number
  heads: number
  kvHeads: number
  ffn: number
  vocab: number
  context: number
}

/** Llama 3 8B (Llama Team 2024). */
export const SHAPE_8B: Shape = {
  layers: 32,
  hidden: 4096,
  heads: 32,
  kvHeads: 8,
  ffn: 14336,
  vocab: 128256,
  context: 8192,
}

/** `Q4_K` stands for the published mixture Q4_K_M. */
export type ShapeFormat = "Q4_0" | "Q4_K" | "Q8_0" | "F16"

/** A matrix's format as converters choose it: with 4-bit formats the output matrix is Q6_K; with Q4_K_M, so are half of some others. */
function formatOf(format: ShapeFormat, tensor: string, layer: number, layers: number): FormatName {
  if (tensor === "output") return format === "Q4_0" || format === "Q4_K" ? "Q6_K" : format
  if (format !== "Q4_K" || (tensor !== "attn_v" && tensor !== "ffn_down")) return format
  const eighth = Math.floor(layers / 8)
  return layer < eighth || layer >= 7 * eighth || (layer - eighth) % 3 === 2 ? "Q6_K" : "Q4_K"
}

export async function writeShapeModel(path: string, format: ShapeFormat, shape: Shape = SHAPE_8B): Promise<void> {
  const { layers, hidden, heads, kvHeads, ffn, vocab, context } = shape
  const headDim = hidden / heads
  const metadata: Record<string, MetadataValue> = {
    "general.architecture": meta.string("llama"),
    "general.name": meta.string(`random ${format}`),
    "llama.context_length": meta.u32(context),
    "llama.embedding_length": meta.u32(hidden),
    "llama.block_count": meta.u32(layers),
    "llama.feed_forward_length": meta.u32(ffn),
    "llama.attention.head_count": meta.u32(heads),
    "llama.attention.head_count_kv": meta.u32(kvHeads),
    "llama.attention.layer_norm_rms_epsilon": meta.f32(1e-5),
    "llama.rope.dimension_count": meta.u32(headDim),
    "llama.rope.freq_base": meta.f32(500000),
    ...tokenizer(vocab),
  }
  const blocks = new RepeatedBlocks(hidden)
  const tensors: TensorSource[] = []
  const matrix = (prefix: string, name: string, rows: number, cols: number, layer = 0) => {
    const own = formatOf(format, name, layer, layers)
    tensors.push({
      name: `${prefix}${name}.weight`,
      shape: [cols, rows],
      format: own,
      data: blocks.take(own, rows, cols),
    })
  }
  const norm = (name: string) =>
    tensors.push({ name: `${name}.weight`, shape: [hidden], format: "F32", data: new Float32Array(hidden).fill(1) })
  matrix("", "token_embd", vocab, hidden)
  for (let layer = 0; layer < layers; layer++) {
    const blk = `blk.${layer}.`
    norm(`${blk}attn_norm`)
    matrix(blk, "attn_q", heads * headDim, hidden, layer)
    matrix(blk, "attn_k", kvHeads * headDim, hidden, layer)
    matrix(blk, "attn_v", kvHeads * headDim, hidden, layer)
    matrix(blk, "attn_output", hidden, heads * headDim, layer)
    norm(`${blk}ffn_norm`)
    matrix(blk, "ffn_gate", ffn, hidden, layer)
    matrix(blk, "ffn_up", ffn, hidden, layer)
    matrix(blk, "ffn_down", hidden, ffn, layer)
  }
  norm("output_norm")
  matrix("", "output", vocab, hidden)
  await writeGguf(path, { metadata, tensors })
}

/** About a million random weights of each format, repeated to fill a tensor. The period divides no row, so that rows differ. */
class RepeatedBlocks {
  readonly #memory = new Map<FormatName, Uint8Array>()

  constructor(readonly hidden: number) {}

  take(name: FormatName, rows: number, cols: number): Uint8Array {
    const length = rows * rowBytes(formatNamed(name), cols)
    const memory = this.#memory.get(name)
    if (memory && memory.length >= length) return memory.subarray(0, length)
    const { blockElems } = formatNamed(name)
    // A prime number of blocks of 256 weights.
    const tile = randomBlocks(name, 4093, Math.max(256, blockElems), 1, 1 / Math.sqrt(this.hidden))
    const grown = new Uint8Array(length)
    grown.set(tile.subarray(0, length))
    for (let filled = tile.length; filled < length; filled *= 2)
      grown.copyWithin(filled, 0, Math.min(filled, length - filled))
    this.#memory.set(name, grown)
    return grown
  }
}

/** A vocabulary of every byte, two control tokens, and filler words that occur in no text. */
function tokenizer(vocab: number): Record<string, MetadataValue> {
  const tokens = ["<|begin|>", "<|end|>", ...BYTE_TO_CHAR]
  for (let i = tokens.length; i < vocab; i++) tokens.push(`Ġ${i}`)
  return {
    "tokenizer.ggml.model": meta.string("gpt2"),
    "tokenizer.ggml.pre": meta.string("gpt-2"),
    "tokenizer.ggml.tokens": meta.strings(tokens),
    "tokenizer.ggml.token_type": meta.i32s(tokens.map((_, id) => (id < 2 ? 3 : 1))),
    "tokenizer.ggml.merges": meta.strings([]),
    "tokenizer.ggml.bos_token_id": meta.u32(0),
    "tokenizer.ggml.eos_token_id": meta.u32(1),
    "tokenizer.ggml.add_bos_token": meta.bool(false),
  }
}
