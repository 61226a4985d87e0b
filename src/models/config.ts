/** A model's hyper-parameters, for the whole model and for each layer, read from GGUF metadata and checked against each other. */

import type { Gguf } from "../gguf/reader.ts"
import { ModelError } from "./errors.ts"

/** How rotary frequencies are stretched beyond the length that the model was trained on. */
export type RopeScaling =
  | { type: "none" }
  /** Positions divided by `factor` (Chen et al. 2023). */
  | { type: "linear"; factor: number }
  /** Frequencies divided by wavelength (Peng et al. 2023), see `rope.ts`. */
  | {
      type: "yarn"
      factor: number
      originalContext: number
      betaFast: number
      betaSlow: number
      /** Share of the by-wavelength mix; 1 is YaRN, 0 plain interpolation. */
      extFactor: number
      /** DeepSeek's `mscale_all_dim`; 0 when it is not used. */
      logMultiplier: number
    }

/** The rotary position embedding of a layer. Layers that rotate alike share one object. */
export interface RopeConfig {
  /** Rotated leading dimensions of a head, an even number. */
  dim: number
  /** Pair i of a head turns by base^(-2i/dim) radians a token, before scaling. */
  base: number
  scaling: RopeScaling
  /** Factor of cosines and sines besides YaRN's own; 1 in nearly every model. */
  attnFactor: number
  /** The frequencies are divided by the file's tensor `rope_freqs.weight`, f32 [dim / 2]. */
  freqFactors: boolean
}

/** The hyper-parameters of one layer. A size of 0 marks a layer without that part, such as the attention of a recurrent layer. */
export interface LayerConfig {
  nHeads: number
  nKvHeads: number
  /** Dimensions of a query head and a key head. */
  headDim: number
  /** Dimensions of a value head. */
  valueDim: number
  /** Inner width of the feed-forward network. */
  ffn: number
  /** Experts of the feed-forward network; 0 in a dense one. */
  nExperts: number
  /** Keys that a query sees, its own included; 0 when it sees all keys before it. */
  window: number
  rope: RopeConfig
}

export interface ModelConfig {
  arch: string
  /** `general.name`, if the file has one. */
  name: string | undefined
  hiddenSize: number
  /** Rows of the embedding table: token ids are 0 … nVocab - 1. */
  nVocab: number
  /** Longest sequence that the model was trained for, in tokens. */
  contextLength: number
  rmsEps: number
  /** How hidden states become an embedding, if the file says so (`pooling_type`); `rank` yields a score instead, `none` a vector for each token. */
  pooling: "none" | "mean" | "cls" | "last" | "rank" | undefined
  layers: readonly LayerConfig[]
}

/** Values of `pooling_type`. */
const POOLINGS: readonly ModelConfig["pooling"][] = ["none", "mean", "cls", "last", "rank"]

/**
 * Reads the hyper-parameters of the file's architecture. Whether a family can run them is checked by the blocks that record its layers.
 * @throws GgufError for a missing key or a key of another type; ModelError `bad-config`, `unsupported` or `missing-tensor`.
 */
export function readConfig(gguf: Gguf): ModelConfig {
  const keys = new Keys(gguf)
  const hiddenSize = keys.count("embedding_length")
  const contextLength = keys.count("context_length")
  const rmsEps = gguf.getF32(keys.name("attention.layer_norm_rms_epsilon"))
  if (!(rmsEps >= 0 && rmsEps < 1)) throw keys.bad("attention.layer_norm_rms_epsilon", rmsEps)
  const embedding = gguf.tensors.get("token_embd.weight")
  if (embedding === undefined) {
    const problem = `tensor "token_embd.weight" [vocabulary, ${hiddenSize}] is missing`
    throw new ModelError("missing-tensor", gguf.path, problem)
  }
  return {
    arch: keys.arch,
    name: gguf.findString("general.name"),
    hiddenSize,
    nVocab: embedding.shape[1] ?? 1,
    contextLength,
    rmsEps,
    pooling: POOLINGS[gguf.findU32(keys.name("pooling_type")) ?? -1],
    layers: readLayers(keys, hiddenSize, contextLength),
  }
}

function readLayers(keys: Keys, hiddenSize: number, contextLength: number): LayerConfig[] {
  const nLayers = keys.count("block_count")
  // Every layer has a tensor. The check comes before anything is allocated for each layer.
  if (nLayers > keys.gguf.tensors.size) {
    throw keys.fail(`${keys.name("block_count")} is ${nLayers}, but the file has ${keys.gguf.tensors.size} tensors`)
  }
  const nHeads = keys.sizePerLayer("attention.head_count", nLayers)
  const nKvHeads = keys.sizePerLayer("attention.head_count_kv", nLayers, nHeads)
  const ffn = keys.sizePerLayer("feed_forward_length", nLayers)
  const nExperts = keys.gguf.findU32(keys.name("expert_count")) ?? 0
  const windows = keys.perLayer("attention.sliding_window", nLayers)
  const windowed = windowedLayers(keys, nLayers)
  const heads = readHeads(keys, hiddenSize, nHeads.find((n) => n > 0) ?? 1, contextLength)

  return Array.from({ length: nLayers }, (_, i) => {
    const [n = 0, nKv = 0, width = 0] = [nHeads[i], nKvHeads[i], ffn[i]]
    if (nKv > 0 && n % nKv !== 0) {
      throw keys.fail(`layer ${i}: ${n} attention heads do not share ${nKv} K/V heads evenly`)
    }
    const window = windowed[i] ? (windows?.[i] ?? 0) : 0
    return { nHeads: n, nKvHeads: nKv, ffn: width, nExperts, window, ...(window > 0 ? heads.windowed : heads.full) }
  })
}

/**
 * Which layers have the sliding window. `attention.sliding_window_pattern` is an array with a flag for each layer, or a period N, by
 * which every N-th layer sees the whole context. Without it all layers have the window.
 */
function windowedLayers(keys: Keys, nLayers: number): boolean[] {
  const name = keys.name("attention.sliding_window_pattern")
  const entry = keys.gguf.metadata.get(name)
  if (entry?.type === "array") {
    const flags = entry.elementType === "bool" ? keys.gguf.getBoolArray(name) : keys.gguf.getU32Array(name)
    return Array.from(keys.ofLength(name, flags, nLayers), (flag) => flag !== 0)
  }
  const period = keys.gguf.findU32(name) ?? 0
  return Array.from({ length: nLayers }, (_, i) => period === 0 || i % period < period - 1)
}

type HeadConfig = Pick<LayerConfig, "headDim" | "valueDim" | "rope">

/** The shape and rotation of heads in layers with the whole context, and in layers with the sliding window (the keys `…_swa`). */
function readHeads(
  keys: Keys,
  hiddenSize: number,
  nHeads: number,
  contextLength: number,
): { full: HeadConfig; windowed: HeadConfig } {
  const { gguf } = keys
  if (!gguf.metadata.has(keys.name("attention.key_length")) && hiddenSize % nHeads !== 0) {
    throw keys.fail(`${keys.name("embedding_length")} ${hiddenSize} is not a multiple of ${nHeads} heads`)
  }
  const headDim = keys.count("attention.key_length", hiddenSize / nHeads)
  const valueDim = keys.count("attention.value_length", headDim)
  const rotated = gguf.findU32(keys.name("rope.dimension_count"))
  const rope: RopeConfig = {
    dim: ropeDim(keys, "rope.dimension_count", rotated ?? headDim, headDim),
    base: ropeBase(keys, "rope.freq_base", 10000),
    scaling: readScaling(keys, contextLength),
    attnFactor: keys.factor("rope.scaling.attn_factor", 1) * keys.factor("rope.scaling.yarn_attn_factor", 1),
    freqFactors: gguf.tensors.has("rope_freqs.weight"),
  }

  const headDimSwa = keys.count("attention.key_length_swa", headDim)
  const dimSwa = gguf.findU32(keys.name("rope.dimension_count_swa")) ?? rotated ?? headDimSwa
  const ropeSwa: RopeConfig = {
    ...rope,
    dim: ropeDim(keys, "rope.dimension_count_swa", dimSwa, headDimSwa),
    base: ropeBase(keys, "rope.freq_base_swa", rope.base),
    freqFactors: false,
  }
  const alike = ropeSwa.dim === rope.dim && ropeSwa.base === rope.base
  return {
    full: { headDim, valueDim, rope },
    windowed: {
      headDim: headDimSwa,
      valueDim: keys.count("attention.value_length_swa", valueDim),
      rope: alike ? rope : ropeSwa,
    },
  }
}

function ropeDim(keys: Keys, key: string, dim: number, headDim: number): number {
  if (dim > 0 && dim % 2 === 0 && dim <= headDim) return dim
  throw keys.fail(`${keys.name(key)} is ${dim}, which is not an even number from 2 to the head's ${headDim} dimensions`)
}

function ropeBase(keys: Keys, key: string, fallback: number): number {
  const base = keys.gguf.findF32(keys.name(key)) ?? fallback
  if (base > 1 && Number.isFinite(base)) return base
  throw keys.bad(key, base)
}

function readScaling(keys: Keys, contextLength: number): RopeScaling {
  const { gguf } = keys
  const typeKey = keys.name("rope.scaling.type")
  const type = gguf.findString(typeKey) ?? "linear"
  // Files of 2023 have `rope.scale_linear` and no type. Some converters write a factor of 0 for "not scaled".
  const legacy = gguf.findF32(keys.name("rope.scale_linear")) || 1
  const factor = gguf.findF32(keys.name("rope.scaling.factor")) || legacy
  if (!(factor > 0 && Number.isFinite(factor))) throw keys.bad("rope.scaling.factor", factor)
  switch (type) {
    case "none":
      return { type }
    case "linear":
      return factor === 1 ? { type: "none" } : { type, factor }
    case "yarn":
      return {
        type,
        factor,
        originalContext: keys.count("rope.scaling.original_context_length", contextLength),
        betaFast: keys.factor("rope.scaling.yarn_beta_fast", 32),
        betaSlow: keys.factor("rope.scaling.yarn_beta_slow", 1),
        extFactor: gguf.findF32(keys.name("rope.scaling.yarn_ext_factor")) ?? 1,
        logMultiplier: gguf.findF32(keys.name("rope.scaling.yarn_log_multiplier")) ?? 0,
      }
    default:
      throw new ModelError("unsupported", gguf.path, `${typeKey} is "${type}"; supported are none, linear and yarn`)
  }
}

/** The metadata keys of the file's architecture, each named without the architecture's prefix. */
class Keys {
  readonly gguf: Gguf
  readonly arch: string

  constructor(gguf: Gguf) {
    this.gguf = gguf
    this.arch = gguf.getString("general.architecture")
  }

  /** The key as the file spells it: `llama.block_count`. */
  name(key: string): string {
    return `${this.arch}.${key}`
  }

  fail(problem: string): ModelError {
    return new ModelError("bad-config", this.gguf.path, problem)
  }

  bad(key: string, value: number): ModelError {
    return this.fail(`${this.name(key)} is ${value}`)
  }

  /** A whole number above 0. Without a fallback the key is required. */
  count(key: string, fallback?: number): number {
    const value = fallback === undefined ? this.gguf.getU32(this.name(key)) : this.gguf.findU32(this.name(key))
    const count = value ?? fallback ?? 0
    if (count > 0) return count
    throw this.bad(key, count)
  }

  /** A finite f32 above 0. */
  factor(key: string, fallback: number): number {
    const value = this.gguf.findF32(this.name(key)) ?? fallback
    if (value > 0 && Number.isFinite(value)) return value
    throw this.bad(key, value)
  }

  /** A number for each layer: the items of an array, or one number that holds for all layers. */
  perLayer(key: string, nLayers: number): ArrayLike<number> | undefined {
    const name = this.name(key)
    if (this.gguf.metadata.get(name)?.type === "array") {
      return this.ofLength(name, this.gguf.getU32Array(name), nLayers)
    }
    const value = this.gguf.findU32(name)
    return value === undefined ? undefined : new Array<number>(nLayers).fill(value)
  }

  /** As `perLayer`, for sizes: a layer may have 0 of them, but not all layers. */
  sizePerLayer(key: string, nLayers: number, fallback?: readonly number[]): readonly number[] {
    const found = this.perLayer(key, nLayers)
    const values = found === undefined ? fallback : Array.from(found)
    if (values === undefined) throw this.fail(`${this.name(key)} is missing`)
    if (values.every((value) => value === 0)) throw this.bad(key, 0)
    return values
  }

  ofLength<T extends ArrayLike<number>>(name: string, values: T, nLayers: number): T {
    if (values.length === nLayers) return values
    throw this.fail(`${name} has ${values.length} items for ${nLayers} layers`)
  }
}
