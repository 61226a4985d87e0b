/** Small models with random weights, complete with tokenizer and chat template: the same bytes from the same options. */

import { createHash } from "node:crypto"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { FormatName } from "../../src/gguf/formats.ts"
import { type MetadataValue, meta } from "../../src/gguf/metadata.ts"
import { encodeGguf, type TensorSource } from "../../src/gguf/writer.ts"
import { tinyTokenizer } from "./tiny-tokenizer.ts"

export type TinyRope =
  | { type: "linear"; factor: number }
  | { type: "yarn"; factor: number; original_context: number }
  /** Llama 3.1's scaling, which files carry as the tensor rope_freqs.weight. */
  | { type: "llama3"; factor: number; low_freq_factor: number; high_freq_factor: number; original_context: number }

export interface TinyModelOptions {
  arch?: "llama" | "mistral" | "qwen2" | "qwen3"
  hidden?: number
  layers?: number
  heads?: number
  kv_heads?: number
  /** Default hidden / heads. */
  head_dim?: number
  ffn?: number
  /** At least 259: 256 bytes and 3 special tokens. */
  vocab?: number
  context_length?: number
  /** Of every matrix, or chosen by tensor name; norms and biases are F32. */
  format?: FormatName | ((tensor: string) => FormatName)
  rope_base?: number
  rope?: TinyRope
  /** The output matrix is the embedding table. */
  tied?: boolean
  /** Biases on Q, K, V and the attention output (qwen2 always has the first three). */
  attention_bias?: boolean
  sliding_window?: number
  pooling_type?: number
  seed?: number
}

/** Writes the model to `path` and returns the file's SHA-256 in hex. */
export async function writeTinyModel(path: string, options: TinyModelOptions = {}): Promise<string> {
  const bytes = tinyModel(options)
  await Bun.write(path, bytes)
  return createHash("sha256").update(bytes).digest("hex")
}

export interface TinyModelFile extends AsyncDisposable {
  /** A folder of the test's own, which holds the model's file alone. */
  readonly folder: string
  /** `tiny.gguf` in that folder. */
  readonly path: string
}

/** Writes a tiny model into a temporary folder, which is removed when the result is disposed of. */
export async function withTinyModel(options: TinyModelOptions = {}): Promise<TinyModelFile> {
  const folder = await mkdtemp(join(tmpdir(), "rocmforge-tiny-"))
  const path = join(folder, "tiny.gguf")
  await writeTinyModel(path, options)
  return { folder, path, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}

/** The bytes of the model's GGUF file. */
export function tinyModel(options: TinyModelOptions = {}): Uint8Array {
  const { arch = "llama", hidden = 64, layers = 2, heads = 4, kv_heads = 2, ffn = 96, vocab = 320 } = options
  const { head_dim = hidden / heads, tied = false, attention_bias = false, format = "F32", seed = 1 } = options
  const { context_length = 256, rope_base = 10000, rope, sliding_window, pooling_type } = options
  const key = (name: string) => `${arch}.${name}`
  const metadata: Record<string, MetadataValue> = {
    "general.architecture": meta.string(arch),
    "general.name": meta.string(`tiny ${arch}`),
    [key("context_length")]: meta.u32(context_length),
    [key("embedding_length")]: meta.u32(hidden),
    [key("block_count")]: meta.u32(layers),
    [key("feed_forward_length")]: meta.u32(ffn),
    [key("attention.head_count")]: meta.u32(heads),
    [key("attention.head_count_kv")]: meta.u32(kv_heads),
    [key("attention.layer_norm_rms_epsilon")]: meta.f32(1e-5),
    [key("attention.key_length")]: meta.u32(head_dim),
    [key("attention.value_length")]: meta.u32(head_dim),
    [key("rope.dimension_count")]: meta.u32(head_dim),
    [key("rope.freq_base")]: meta.f32(rope_base),
    ...(sliding_window === undefined ? {} : { [key("attention.sliding_window")]: meta.u32(sliding_window) }),
    ...(pooling_type === undefined ? {} : { [key("pooling_type")]: meta.u32(pooling_type) }),
    ...tinyTokenizer(vocab),
  }
  if (rope?.type === "linear" || rope?.type === "yarn") {
    metadata[key("rope.scaling.type")] = meta.string(rope.type)
    metadata[key("rope.scaling.factor")] = meta.f32(rope.factor)
  }
  if (rope?.type === "yarn") metadata[key("rope.scaling.original_context_length")] = meta.u32(rope.original_context)

  const random = gaussian(seed)
  const tensors: TensorSource[] = []
  const matrix = (name: string, rows: number, cols: number, gain = 1) => {
    const data = Float32Array.from({ length: rows * cols }, () => (random() * gain) / Math.sqrt(cols))
    tensors.push({ name, shape: [cols, rows], format: typeof format === "string" ? format : format(name), data })
  }
  const vector = (name: string, length: number, mean: number) => {
    const data = Float32Array.from({ length }, () => mean + 0.2 * random())
    tensors.push({ name, shape: [length], format: "F32", data })
  }
  const qDim = heads * head_dim
  const kvDim = kv_heads * head_dim
  matrix("token_embd.weight", vocab, hidden, Math.sqrt(hidden))
  if (rope?.type === "llama3") {
    tensors.push({
      name: "rope_freqs.weight",
      shape: [head_dim / 2],
      format: "F32",
      data: llama3Factors(rope, head_dim, rope_base),
    })
  }
  for (let i = 0; i < layers; i++) {
    const blk = (name: string) => `blk.${i}.${name}`
    vector(blk("attn_norm.weight"), hidden, 1)
    // Larger than 1/√cols, so that attention is far from uniform and positions matter.
    matrix(blk("attn_q.weight"), qDim, hidden, 2)
    matrix(blk("attn_k.weight"), kvDim, hidden, 2)
    matrix(blk("attn_v.weight"), kvDim, hidden)
    if (attention_bias || arch === "qwen2") {
      vector(blk("attn_q.bias"), qDim, 0)
      vector(blk("attn_k.bias"), kvDim, 0)
      vector(blk("attn_v.bias"), kvDim, 0)
    }
    if (arch === "qwen3") {
      vector(blk("attn_q_norm.weight"), head_dim, 1)
      vector(blk("attn_k_norm.weight"), head_dim, 1)
    }
    matrix(blk("attn_output.weight"), hidden, qDim)
    if (attention_bias) vector(blk("attn_output.bias"), hidden, 0)
    vector(blk("ffn_norm.weight"), hidden, 1)
    matrix(blk("ffn_gate.weight"), ffn, hidden)
    matrix(blk("ffn_up.weight"), ffn, hidden)
    matrix(blk("ffn_down.weight"), hidden, ffn)
  }
  vector("output_norm.weight", hidden, 1)
  if (!tied) matrix("output.weight", vocab, hidden, 2)
  return encodeGguf({ metadata, tensors })
}

/**
 * The divisors of rope_freqs.weight, as converters compute them from Llama 3.1's configuration: long wavelengths are stretched by
 * `factor`, short ones kept, and those between mixed (Llama Team 2024).
 */
function llama3Factors(rope: Extract<TinyRope, { type: "llama3" }>, dim: number, base: number): Float32Array {
  const { factor, low_freq_factor, high_freq_factor, original_context } = rope
  return Float32Array.from({ length: dim / 2 }, (_, i) => {
    const turns = original_context / (2 * Math.PI * base ** ((2 * i) / dim))
    if (turns > high_freq_factor) return 1
    if (turns < low_freq_factor) return factor
    const smooth = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor)
    return 1 / ((1 - smooth) / factor + smooth)
  })
}

/**
 * Roughly normal numbers of variance 1 (sums of twelve uniform ones), the same on every machine: only exact integer and
 * dyadic arithmetic. The generator is splitmix32.
 */
function gaussian(seed: number): () => number {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  return () => {
    let sum = 0
    for (let i = 0; i < 12; i++) sum += next() / 2 ** 32
    return sum - 6
  }
}
