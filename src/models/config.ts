/** A model's hyper-parameters, read from GGUF metadata and checked against each other. */

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

export interface ModelConfig {
  arch: string
  /** `general.name`, if the file has one. */
  name: string | undefined
  hiddenSize: number
  nLayers: number
  nHeads: number
  nKvHeads: number
  headDim: number
  /** Width of the feed-forward network. */
  ffn: number
  /** Rows of the embedding table: token ids are 0 … n_vocab - 1. */
  nVocab: number
  /** Tokens that the model was made for. */
  contextLength: number
  rmsEps: number
  /** Tokens that a query sees, itself included; 0: all before it. */
  slidingWindow: number
  /** Rotated leading dimensions of a head. */
  ropeDim: number
  ropeBase: number
  ropeScaling: RopeScaling
  /** Extra factor of the rotated vectors' magnitude; 1 in nearly every model. */
  ropeAttnFactor: number
  /** How the model's hidden states become an embedding, where the file says so (`pooling_type`); `rank`: a score instead of one. */
  pooling: "mean" | "cls" | "last" | "rank" | undefined
}

/** Values of `pooling_type`; 0 is none of them. */
const POOLINGS: Readonly<Record<number, ModelConfig["pooling"]>> = { 1: "mean", 2: "cls", 3: "last", 4: "rank" }

/**
 * Reads the hyper-parameters of the file's architecture.
 * @throws GgufError for a key that is missing or of another type; ModelError `bad-config`, `unsupported` or `missing-tensor`.
 */
export function readConfig(gguf: Gguf): ModelConfig {
  const arch = gguf.getString("general.architecture")
  const key = (name: string) => `${arch}.${name}`
  const fail = (problem: string): never => {
    throw new ModelError("bad-config", gguf.path, problem)
  }
  const positive = (name: string, value: number): number => (value > 0 ? value : fail(`${key(name)} is ${value}`))
  const count = (name: string) => positive(name, gguf.getU32(key(name)))

  refuseUnsupported(gguf, key)
  const hiddenSize = count("embedding_length")
  const nLayers = count("block_count")
  const nHeads = positive("attention.head_count", uniform(gguf, key("attention.head_count")) ?? 0)
  const nKvHeads = positive("attention.head_count_kv", uniform(gguf, key("attention.head_count_kv")) ?? nHeads)
  if (nHeads % nKvHeads !== 0) fail(`${nHeads} attention heads do not share ${nKvHeads} K/V heads evenly`)

  const keyLength = gguf.findU32(key("attention.key_length"))
  if (keyLength === undefined && hiddenSize % nHeads !== 0) {
    fail(`${key("embedding_length")} ${hiddenSize} is not a multiple of ${nHeads} heads`)
  }
  const headDim = positive("attention.key_length", keyLength ?? hiddenSize / nHeads)
  const valueLength = gguf.findU32(key("attention.value_length")) ?? headDim
  if (valueLength !== headDim) {
    throw new ModelError("unsupported", gguf.path, `keys of ${headDim} and values of ${valueLength} dimensions differ`)
  }
  const ropeDim = positive("rope.dimension_count", gguf.findU32(key("rope.dimension_count")) ?? headDim)
  if (ropeDim % 2 !== 0 || ropeDim > headDim) {
    fail(`${key("rope.dimension_count")} is ${ropeDim}, which is not an even number up to ${headDim}`)
  }
  const ropeBase = gguf.findF32(key("rope.freq_base")) ?? 10000
  if (!(ropeBase > 1 && Number.isFinite(ropeBase))) fail(`${key("rope.freq_base")} is ${ropeBase}`)
  const rmsEps = gguf.getF32(key("attention.layer_norm_rms_epsilon"))
  if (!(rmsEps >= 0 && rmsEps < 1)) fail(`${key("attention.layer_norm_rms_epsilon")} is ${rmsEps}`)

  const embedding = gguf.tensors.get("token_embd.weight")
  if (embedding === undefined) {
    throw new ModelError(
      "missing-tensor",
      gguf.path,
      `tensor "token_embd.weight" [vocabulary, ${hiddenSize}] is missing`,
    )
  }
  const contextLength = count("context_length")
  const attnFactor = (name: string) => positive(`rope.scaling.${name}`, gguf.findF32(key(`rope.scaling.${name}`)) ?? 1)
  return {
    arch,
    name: gguf.findString("general.name"),
    hiddenSize,
    nLayers,
    nHeads,
    nKvHeads,
    headDim,
    ffn: positive("feed_forward_length", uniform(gguf, key("feed_forward_length")) ?? 0),
    nVocab: embedding.shape[1] ?? 1,
    contextLength,
    rmsEps,
    slidingWindow: gguf.findU32(key("attention.sliding_window")) ?? 0,
    ropeDim,
    ropeBase,
    ropeScaling: readScaling(gguf, key, contextLength),
    ropeAttnFactor: attnFactor("attn_factor") * attnFactor("yarn_attn_factor"),
    pooling: POOLINGS[gguf.findU32(key("pooling_type")) ?? 0],
  }
}

/** A key that holds one number, or one number for each layer, which must all be the same. */
function uniform(gguf: Gguf, key: string): number | undefined {
  if (gguf.metadata.get(key)?.type !== "array") return gguf.findU32(key)
  const values = gguf.getU32Array(key)
  if (values.some((value) => value !== values[0])) {
    throw new ModelError("unsupported", gguf.path, `${key} differs from layer to layer`)
  }
  return values[0]
}

function refuseUnsupported(gguf: Gguf, key: (name: string) => string): void {
  const experts = gguf.findU32(key("expert_count")) ?? 0
  if (experts > 0) throw new ModelError("unsupported", gguf.path, `it is a mixture of ${experts} experts`)
  if (gguf.metadata.has(key("attention.sliding_window_pattern"))) {
    throw new ModelError(
      "unsupported",
      gguf.path,
      `${key("attention.sliding_window_pattern")} varies the window by layer`,
    )
  }
}

function readScaling(gguf: Gguf, key: (name: string) => string, contextLength: number): RopeScaling {
  const scaling = (name: string) => key(`rope.scaling.${name}`)
  const checkFactor = (name: string, value: number): number => {
    if (value > 0 && Number.isFinite(value)) return value
    throw new ModelError("bad-config", gguf.path, `${name} is ${value}`)
  }
  // Files of 2023 had this key before there were scaling types.
  const legacy = gguf.findF32(key("rope.scale_linear"))
  const type = gguf.findString(scaling("type")) ?? "linear"
  // Some converters write 0 for "not scaled".
  const factor = checkFactor(scaling("factor"), gguf.findF32(scaling("factor")) || legacy || 1)
  switch (type) {
    case "none":
      return { type }
    case "linear":
      return factor === 1 ? { type: "none" } : { type, factor }
    case "yarn":
      return {
        type,
        factor,
        originalContext: checkFactor(
          scaling("original_context_length"),
          gguf.findU32(scaling("original_context_length")) ?? contextLength,
        ),
        betaFast: checkFactor(scaling("yarn_beta_fast"), gguf.findF32(scaling("yarn_beta_fast")) ?? 32),
        betaSlow: checkFactor(scaling("yarn_beta_slow"), gguf.findF32(scaling("yarn_beta_slow")) ?? 1),
        extFactor: gguf.findF32(scaling("yarn_ext_factor")) ?? 1,
        logMultiplier: gguf.findF32(scaling("yarn_log_multiplier")) ?? 0,
      }
    default:
      throw new ModelError("unsupported", gguf.path, `${scaling("type")} is "${type}"; known are none, linear and yarn`)
  }
}
