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
      original_context: number
      beta_fast: number
      beta_slow: number
      /** Share of the by-wavelength mix; 1 is YaRN, 0 plain interpolation. */
      ext_factor: number
      /** DeepSeek's `mscale_all_dim`; 0 when it is not used. */
      log_multiplier: number
    }

export interface ModelConfig {
  arch: string
  /** `general.name`, if the file has one. */
  name: string | undefined
  hidden_size: number
  n_layers: number
  n_heads: number
  n_kv_heads: number
  head_dim: number
  /** Width of the feed-forward network. */
  ffn: number
  /** Rows of the embedding table: token ids are 0 … n_vocab - 1. */
  n_vocab: number
  /** Tokens that the model was made for. */
  context_length: number
  rms_eps: number
  /** Tokens that a query sees, itself included; 0: all before it. */
  sliding_window: number
  /** Rotated leading dimensions of a head. */
  rope_dim: number
  rope_base: number
  rope_scaling: RopeScaling
  /** Extra factor of the rotated vectors' magnitude; 1 in nearly every model. */
  rope_attn_factor: number
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
  const hidden_size = count("embedding_length")
  const n_layers = count("block_count")
  const n_heads = positive("attention.head_count", uniform(gguf, key("attention.head_count")) ?? 0)
  const n_kv_heads = positive("attention.head_count_kv", uniform(gguf, key("attention.head_count_kv")) ?? n_heads)
  if (n_heads % n_kv_heads !== 0) fail(`${n_heads} attention heads do not share ${n_kv_heads} K/V heads evenly`)

  const keyLength = gguf.findU32(key("attention.key_length"))
  if (keyLength === undefined && hidden_size % n_heads !== 0) {
    fail(`${key("embedding_length")} ${hidden_size} is not a multiple of ${n_heads} heads`)
  }
  const head_dim = positive("attention.key_length", keyLength ?? hidden_size / n_heads)
  const valueLength = gguf.findU32(key("attention.value_length")) ?? head_dim
  if (valueLength !== head_dim) {
    throw new ModelError("unsupported", gguf.path, `keys of ${head_dim} and values of ${valueLength} dimensions differ`)
  }
  const rope_dim = positive("rope.dimension_count", gguf.findU32(key("rope.dimension_count")) ?? head_dim)
  if (rope_dim % 2 !== 0 || rope_dim > head_dim) {
    fail(`${key("rope.dimension_count")} is ${rope_dim}, which is not an even number up to ${head_dim}`)
  }
  const rope_base = gguf.findF32(key("rope.freq_base")) ?? 10000
  if (!(rope_base > 1 && Number.isFinite(rope_base))) fail(`${key("rope.freq_base")} is ${rope_base}`)
  const rms_eps = gguf.getF32(key("attention.layer_norm_rms_epsilon"))
  if (!(rms_eps >= 0 && rms_eps < 1)) fail(`${key("attention.layer_norm_rms_epsilon")} is ${rms_eps}`)

  const embedding = gguf.tensors.get("token_embd.weight")
  if (embedding === undefined) {
    throw new ModelError(
      "missing-tensor",
      gguf.path,
      `tensor "token_embd.weight" [vocabulary, ${hidden_size}] is missing`,
    )
  }
  const context_length = count("context_length")
  const attnFactor = (name: string) => positive(`rope.scaling.${name}`, gguf.findF32(key(`rope.scaling.${name}`)) ?? 1)
  return {
    arch,
    name: gguf.findString("general.name"),
    hidden_size,
    n_layers,
    n_heads,
    n_kv_heads,
    head_dim,
    ffn: positive("feed_forward_length", uniform(gguf, key("feed_forward_length")) ?? 0),
    n_vocab: embedding.shape[1] ?? 1,
    context_length,
    rms_eps,
    sliding_window: gguf.findU32(key("attention.sliding_window")) ?? 0,
    rope_dim,
    rope_base,
    rope_scaling: readScaling(gguf, key, context_length),
    rope_attn_factor: attnFactor("attn_factor") * attnFactor("yarn_attn_factor"),
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
        original_context: checkFactor(
          scaling("original_context_length"),
          gguf.findU32(scaling("original_context_length")) ?? contextLength,
        ),
        beta_fast: checkFactor(scaling("yarn_beta_fast"), gguf.findF32(scaling("yarn_beta_fast")) ?? 32),
        beta_slow: checkFactor(scaling("yarn_beta_slow"), gguf.findF32(scaling("yarn_beta_slow")) ?? 1),
        ext_factor: gguf.findF32(scaling("yarn_ext_factor")) ?? 1,
        log_multiplier: gguf.findF32(scaling("yarn_log_multiplier")) ?? 0,
      }
    default:
      throw new ModelError("unsupported", gguf.path, `${scaling("type")} is "${type}"; known are none, linear and yarn`)
  }
}
