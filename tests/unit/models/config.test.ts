import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type MetadataValue, meta } from "../../../src/gguf/metadata.ts"
import { type LayerConfig, readConfig } from "../../../src/models/config.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { printPlan } from "../../../src/plan/print.ts"
import type { TinyModelOptions } from "../../support/tiny-model.ts"
import { changedModel } from "./change-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-config-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** The configuration of the layers of a tiny llama model with six layers and these keys. */
async function layersWith(
  keys: Record<string, MetadataValue>,
  options: TinyModelOptions = {},
): Promise<readonly LayerConfig[]> {
  const metadata = Object.fromEntries(Object.entries(keys).map(([key, value]) => [`llama.${key}`, value]))
  return readConfig(await changedModel(folder, { layers: 6, ...options }, { metadata })).layers
}

describe("the configuration of layers", () => {
  test("one number applies to all layers", async () => {
    const layers = await layersWith({ "attention.head_count": meta.u32(8), feed_forward_length: meta.u64(32n) })
    expect(layers.map(({ nHeads }) => nHeads)).toEqual([8, 8, 8, 8, 8, 8])
    expect(layers.map(({ ffn }) => ffn)).toEqual([32, 32, 32, 32, 32, 32])
    expect(new Set(layers.map(({ rope }) => rope)).size).toBe(1)
  })

  test("an array has a number for each layer, in any integer type", async () => {
    const layers = await layersWith({
      "attention.head_count": meta.u32s([4, 4, 8, 8, 4, 4]),
      "attention.head_count_kv": meta.i32s([1, 2, 4, 8, 0, 4]),
      feed_forward_length: meta.i32s([64, 96, 128, 160, 192, 0]),
      "attention.sliding_window": meta.u32s([0, 16, 32, 0, 16, 32]),
    })
    expect(layers.map(({ nHeads }) => nHeads)).toEqual([4, 4, 8, 8, 4, 4])
    expect(layers.map(({ nKvHeads }) => nKvHeads)).toEqual([1, 2, 4, 8, 0, 4])
    expect(layers.map(({ ffn }) => ffn)).toEqual([64, 96, 128, 160, 192, 0])
    expect(layers.map(({ window }) => window)).toEqual([0, 16, 32, 0, 16, 32])
  })

  test("K/V heads default to the heads of their layer", async () => {
    const metadata = {
      "llama.attention.head_count": meta.u32s([2, 4]),
      "llama.attention.head_count_kv": undefined,
    }
    const { layers } = readConfig(await changedModel(folder, {}, { metadata }))
    expect(layers.map(({ nKvHeads }) => nKvHeads)).toEqual([2, 4])
  })

  test.each([
    ["flags", meta.bools([true, true, false, true, false, true]), [8, 8, 0, 8, 0, 8]],
    ["numbers as flags", meta.u32s([1, 0, 1, 0, 0, 1]), [8, 0, 8, 0, 0, 8]],
    ["a period of 3", meta.u32(3), [8, 8, 0, 8, 8, 0]],
    ["a period of 2", meta.u32(2), [8, 0, 8, 0, 8, 0]],
    ["a period of 1, which leaves no layer a window", meta.u32(1), [0, 0, 0, 0, 0, 0]],
    ["a period of 0, which is none", meta.u32(0), [8, 8, 8, 8, 8, 8]],
  ] as [string, MetadataValue, number[]][])("the layers that have the window: %s", async (_, pattern, expected) => {
    const window = { "attention.sliding_window": meta.u32(8) }
    const layers = await layersWith({ ...window, "attention.sliding_window_pattern": pattern })
    expect(layers.map(({ window: n }) => n)).toEqual(expected)
    const none = await layersWith({ "attention.sliding_window_pattern": pattern })
    expect(none.every(({ window: n }) => n === 0)).toBe(true)
  })

  test("layers with a window can have their own head sizes and rotary base", async () => {
    const layers = await layersWith(
      {
        "attention.value_length": meta.u32(24),
        "attention.key_length_swa": meta.u32(8),
        "attention.value_length_swa": meta.u32(12),
        "rope.dimension_count_swa": meta.u32(4),
        "rope.freq_base_swa": meta.f32(500),
      },
      { sliding_window: 8, window_pattern: 3, rope_base: 1e6, rope: { type: "linear", factor: 8 } },
    )
    const windowed = { headDim: 8, valueDim: 12, window: 8 }
    const full = { headDim: 16, valueDim: 24, window: 0 }
    expect(layers).toMatchObject([windowed, windowed, full, windowed, windowed, full])
    expect(layers[0]?.rope).toMatchObject({ dim: 4, base: 500, scaling: { type: "linear", factor: 8 } })
    expect(layers[2]?.rope).toMatchObject({ dim: 16, base: 1e6, scaling: { type: "linear", factor: 8 } })
    expect(layers[1]?.rope).toBe(layers[4]?.rope as LayerConfig["rope"])
  })

  test("layers with a window have the sizes and the rotation of the other layers by default", async () => {
    const layers = await layersWith({}, { sliding_window: 8, window_pattern: 2 })
    expect(layers[0]).toEqual({ ...(layers[1] as LayerConfig), window: 8 })
    expect(layers[0]?.rope).toBe(layers[1]?.rope as LayerConfig["rope"])
  })

  test("the tensor rope_freqs.weight applies to the layers with the whole context and to all layers with the same rotation", async () => {
    const rope = { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_context: 64 } as const
    const alike = await layersWith({}, { rope, sliding_window: 8 })
    expect(alike.every((layer) => layer.rope.freqFactors)).toBe(true)
    const two = await layersWith({}, { rope, sliding_window: 8, window_pattern: 2, rope_base_swa: 500 })
    expect(two.map((layer) => layer.rope.freqFactors)).toEqual([false, true, false, true, false, true])
  })

  test.each([
    ["rope.dimension_count_swa", meta.u32(18), "llama.rope.dimension_count_swa is 18"],
    ["rope.freq_base_swa", meta.f32(0), "llama.rope.freq_base_swa is 0"],
    ["attention.key_length_swa", meta.u32(0), "llama.attention.key_length_swa is 0"],
    ["attention.head_count", meta.strings(["4"]), 'metadata "llama.attention.head_count"'],
    ["attention.sliding_window_pattern", meta.f32s([1, 0]), 'metadata "llama.attention.sliding_window_pattern"'],
  ] as [string, MetadataValue, string][])(
    "llama.%s with a wrong value or type is refused",
    async (key, value, problem) => {
      await expect(layersWith({ [key]: value }, { layers: 2 })).rejects.toThrow(problem)
    },
  )
})

test("buffers and rope tables are recorded once for each shape", async () => {
  const options: TinyModelOptions = {
    layers: 4,
    heads: [4, 4, 8, 4],
    kv_heads: [2, 2, 4, 2],
    ffn: [96, 64, 96, 64],
    sliding_window: 8,
    window_pattern: 2,
    head_dim_swa: 8,
    rope_base_swa: 500,
  }
  const model = buildModel(await changedModel(folder, options))
  const buffers = printPlan(model.plan).filter((line) => /^ {2}\S+ +\[n_tokens, \d+\]$/.test(line))
  expect(buffers.map((line) => line.trim().replace(/ +/g, " "))).toEqual([
    "x [n_tokens, 64]",
    "h [n_tokens, 64]",
    "qkv [n_tokens, 64]",
    "a [n_tokens, 32]",
    "g [n_tokens, 96]",
    "qkv.128 [n_tokens, 128]",
    "a.64 [n_tokens, 64]",
    "g.64 [n_tokens, 64]",
    "rope [n_tokens, 8]",
    "rope.2 [n_tokens, 16]",
  ])
  // Bytes of K and V, f16: two heads of 8 or 16, or four heads of 8.
  expect(model.memory({ contextLength: 16 }).kv).toBe(16 * 2 * 2 * (2 * 8 + 2 * 16 + 4 * 8 + 2 * 16))
  // Layers 1 and 3 are equal and printed once.
  const attention = printPlan(model.plan).filter((line) => line.includes(" ATTENTION "))
  expect(attention.map((line) => /window (\d+)/.exec(line)?.[1])).toEqual(["8", undefined, "8"])
})
