import { expect, test } from "bun:test"
import { configJson, configRows } from "../../../src/cli/inspect-config.ts"
import type { LayerConfig, ModelConfig } from "../../../src/models/config.ts"

const rope = { dim: 16, base: 1e6, scaling: { type: "none" }, attnFactor: 1, freqFactors: false } as const
const layer = { nHeads: 4, nKvHeads: 2, headDim: 16, valueDim: 16, ffn: 96, nExperts: 0, window: 32, rope }

function model(...changes: Partial<LayerConfig>[]): ModelConfig {
  return {
    arch: "llama",
    name: "tiny",
    hiddenSize: 64,
    nVocab: 320,
    contextLength: 256,
    rmsEps: 1e-5,
    pooling: "mean",
    layers: changes.map((change) => ({ ...layer, ...change })),
  }
}

test("equal layers are shown once", () => {
  const config = model({}, { rope: { ...rope } })
  expect(configJson(config)).toEqual({
    arch: "llama",
    name: "tiny",
    hidden_size: 64,
    n_layers: 2,
    n_heads: 4,
    n_kv_heads: 2,
    head_dim: 16,
    value_dim: 16,
    ffn: 96,
    n_vocab: 320,
    context_length: 256,
    rms_eps: 1e-5,
    sliding_window: 32,
    rope_dim: 16,
    rope_base: 1e6,
    rope_scaling: { type: "none" },
    rope_attn_factor: 1,
    pooling: "mean",
  })
  expect(configRows(config)).toEqual([
    ["layers", "2 of 64, 4 heads and 2 K/V heads of 16, feed-forward 96"],
    ["vocabulary", "320"],
    ["context", "256 tokens, sliding window 32"],
  ])
})

test("different layers have one value each in JSON, and one row per kind in text", () => {
  const config = model({}, { window: 0, rope: { ...rope, base: 10000 } }, {}, { ffn: 64, window: 0 })
  expect(configJson(config)).toMatchObject({
    n_layers: 4,
    n_heads: 4,
    ffn: [96, 96, 96, 64],
    sliding_window: [32, 0, 32, 0],
    rope_base: [1e6, 10000, 1e6, 1e6],
    rope_scaling: { type: "none" },
  })
  expect(configRows(config)).toEqual([
    ["layers", "4 of 64"],
    ["  2 with", "4 heads and 2 K/V heads of 16, feed-forward 96, sliding window 32"],
    ["  1 with", "4 heads and 2 K/V heads of 16, feed-forward 96"],
    ["  1 with", "4 heads and 2 K/V heads of 16, feed-forward 64"],
    ["vocabulary", "320"],
    ["context", "256 tokens"],
  ])
})
