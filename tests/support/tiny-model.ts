/** Small models with random weights, a tokenizer and a chat template. The same options give the same bytes. */

import { createHash } from "node:crypto"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { FormatName } from "../../src/gguf/formats.ts"
import { type MetadataValue, meta } from "../../src/gguf/metadata.ts"
import { encodeGguf, type TensorSource } from "../../src/gguf/writer.ts"
import { tinyTokenizer } from "./tiny-tokenizer.ts"

type TinyRope =
  | { type: "linear"; factor: number }
  | { type: "yarn"; factor: number; original_context: number }
  /** Llama 3.1's scaling, stored in the tensor `rope_freqs.weight`. */
  | { type: "llama3"; factor: number; low_freq_factor: number; high_freq_factor: number; original_context: number }

/** One number for all layers, or a number for each layer. */
type PerLayer = number | readonly number[]

export interface TinyModelOptions {
  arch?: "llama" | "mistral" | "qwen2" | "qwen3"
  hidden?: number
  layers?: number
  heads?: PerLayer
  kv_heads?: PerLayer
  /** Default hidden / heads of the first layer. */
  head_dim?: number
  ffn?: PerLayer
  /** At least 259, for 256 bytes and 3 special tokens. */
  vocab?: number
  context_length?: number
  /** Format of every matrix, or of each by its name; norms and biases are F32. */
  format?: FormatName | ((tensor: string) => FormatName)
  rope_base?: number
  rope?: TinyRope
  /** The output matrix is the embedding table. */
  tied?: boolean
  /** Biases on Q, K, V and the attention output (qwen2 always has those on Q, K and V). */
  attention_bias?: boolean
  sliding_window?: PerLayer
  /** The layers with the window, or a period N: every N-th layer attends to the whole context. Default: all layers have the window. */
  window_pattern?: number | readonly boolean[]
  /** Head size and rotary base of the layers with the window. Default: as in the other layers. */
  head_dim_swa?: number
  rope_base_swa?: number
  pooling_type?: number
  /** Scores of a head that ranks texts. Default: no head. */
  rank_scores?: number
  seed?: number
}

/** Writes the model to `path` and returns the file's SHA-256 in hex. */
export async function writeTinyModel(path: string, options: TinyModelOptions = {}): Promise<string> {
  const bytes = tinyModel(options)
  await Bun.write(path, bytes)
  return createHash("sha256").update(bytes).digest("hex")
}

export interface TinyModelFile extends AsyncDisposable {
  /** A temporary folder that contains only the model file. */
  readonly folder: string
  /** `tiny.gguf` in that folder. */
  readonly path: string
}

/** Writes a tiny model to a temporary folder. Disposing of the result removes the folder. */
export async function withTinyModel(options: TinyModelOptions = {}): Promise<TinyModelFile> {
  const folder = await mkdtemp(join(tmpdir(), "rocmforge-tiny-"))
  const path = join(folder, "tiny.gguf")
  await writeTinyModel(path, options)
  return { folder, path, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}

/** The bytes of the model's GGUF file. */
export function tinyModel(options: TinyModelOptions = {}): Uint8Array {
  const { arch = "llama", hidden = 64, layers = 2, heads = 4, kv_heads = 2, ffn = 96, vocab = 320 } = options
  const { head_dim = hidden / at(heads, 0), tied = false, attention_bias = false, format = "F32", seed = 1 } = options
  const { context_length = 256, rope_base = 10000, rope, sliding_window, pooling_type } = options
  const { window_pattern, head_dim_swa, rope_base_swa } = options
  const key = (name: string) => `${arch}.${name}`
  const metadata: Record<string, MetadataValue> = {
    "general.architecture": meta.string(arch),
    "general.name": meta.string(`tiny ${arch}`),
    [key("context_length")]: meta.u32(context_length),
    [key("embedding_length")]: meta.u32(hidden),
    [key("block_count")]: meta.u32(layers),
    [key("feed_forward_length")]: perLayer(ffn),
    [key("attention.head_count")]: perLayer(heads),
    [key("attention.head_count_kv")]: perLayer(kv_heads),
    [key("attention.layer_norm_rms_epsilon")]: meta.f32(1e-5),
    [key("attention.key_length")]: meta.u32(head_dim),
    [key("attention.value_length")]: meta.u32(head_dim),
    [key("rope.dimension_count")]: meta.u32(head_dim),
    [key("rope.freq_base")]: meta.f32(rope_base),
    ...(sliding_window === undefined ? {} : { [key("attention.sliding_window")]: perLayer(sliding_window) }),
    ...(pooling_type === undefined ? {} : { [key("pooling_type")]: meta.u32(pooling_type) }),
    ...tinyTokenizer(vocab),
  }
  if (window_pattern !== undefined) {
    const pattern = typeof window_pattern === "number" ? meta.u32(window_pattern) : meta.bools([...window_pattern])
    metadata[key("attention.sliding_window_pattern")] = pattern
  }
  if (head_dim_swa !== undefined) {
    metadata[key("attention.key_length_swa")] = meta.u32(head_dim_swa)
    metadata[key("attention.value_length_swa")] = meta.u32(head_dim_swa)
    metadata[key("rope.dimension_count_swa")] = meta.u32(head_dim_swa)
  }
  if (rope_base_swa !== undefined) metadata[key("rope.freq_base_swa")] = meta.f32(rope_base_swa)
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
  const windowed = (layer: number): boolean => {
    if (sliding_window === undefined || at(sliding_window, layer) === 0) return false
    if (typeof window_pattern === "number") return layer % window_pattern < window_pattern - 1
    return window_pattern?.[layer] ?? true
  }
  matrix("token_embd.weight", vocab, hidden, Math.sqrt(hidden))
  if (options.rank_scores !== undefined) matrix("cls.output.weight", options.rank_scores, hidden)
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
    const headDim = windowed(i) ? (head_dim_swa ?? head_dim) : head_dim
    const qDim = at(heads, i) * headDim
    const kvDim = at(kv_heads, i) * headDim
    const width = at(ffn, i)
    vector(blk("attn_norm.weight"), hidden, 1)
    // Q and K are larger than 1/√cols, so that attention is far from uniform and positions matter.
    matrix(blk("attn_q.weight"), qDim, hidden, 2)
    matrix(blk("attn_k.weight"), kvDim, hidden, 2)
    matrix(blk("attn_v.weight"), kvDim, hidden)
    if (attention_bias || arch === "qwen2") {
      vector(blk("attn_q.bias"), qDim, 0)
      vector(blk("attn_k.bias"), kvDim, 0)
      vector(blk("attn_v.bias"), kvDim, 0)
    }
    if (arch === "qwen3") {
      vector(blk("attn_q_norm.weight"), headDim, 1)
      vector(blk("attn_k_norm.weight"), headDim, 1)
    }
    matrix(blk("attn_output.weight"), hidden, qDim)
    if (attention_bias) vector(blk("attn_output.bias"), hidden, 0)
    vector(blk("ffn_norm.weight"), hidden, 1)
    matrix(blk("ffn_gate.weight"), width, hidden)
    matrix(blk("ffn_up.weight"), width, hidden)
    matrix(blk("ffn_down.weight"), hidden, width)
  }
  vector("output_norm.weight", hidden, 1)
  if (!tied) matrix("output.weight", vocab, hidden, 2)
  return encodeGguf({ metadata, tensors })
}

const at = (value: PerLayer, layer: number): number => (typeof value === "number" ? value : (value[layer] ?? 0))

const perLayer = (value: PerLayer): MetadataValue => (typeof value === "number" ? meta.u32(value) : meta.u32s(value))

/**
 * The divisors of rope_freqs.weight, as converters compute them from Llama 3.1's configuration: `factor` for long wavelengths, 1 for
 * short wavelengths, and a mix for those between (Llama Team 2024).
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
 * Roughly normal numbers of variance 1: sums of twelve uniform numbers from splitmix32. All arithmetic is exact, so that the numbers
 * are the same on every machine.
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
