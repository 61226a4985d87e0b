import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../src/gguf/reader.ts"
import { buildModel } from "../../src/models/registry.ts"
import { worstError } from "../support/golden-models.ts"
import { interpretPlan } from "../support/interpret-plan.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"
import { PlanRunner } from "../support/run-plan.ts"
import { type TinyModelOptions, writeTinyModel } from "../support/tiny-model.ts"

const CASES: Record<string, TinyModelOptions> = {
  heads: { layers: 3, heads: [4, 8, 2], kv_heads: [2, 1, 2], head_dim: 16, seed: 21 },
  "feed-forward widths": { layers: 3, ffn: [96, 32, 160], seed: 22 },
  "windows, by an array": { layers: 3, sliding_window: [16, 0, 5], seed: 23 },
  "windows, by flags": { layers: 3, sliding_window: 16, window_pattern: [false, true, true], seed: 24 },
  "windows, by a period, with a rotary base": {
    layers: 4,
    sliding_window: 12,
    window_pattern: 2,
    rope_base: 1e6,
    rope_base_swa: 10000,
    seed: 25,
  },
  "head sizes by window, with norms of Q and K": {
    arch: "qwen3",
    layers: 4,
    sliding_window: 12,
    window_pattern: 3,
    head_dim: 32,
    head_dim_swa: 16,
    seed: 26,
  },
  "all of it": {
    layers: 4,
    heads: [4, 8, 2, 8],
    kv_heads: [2, 4, 1, 1],
    ffn: [96, 64, 128, 64],
    sliding_window: [8, 8, 20, 0],
    window_pattern: [true, false, true, true],
    head_dim: 32,
    head_dim_swa: 16,
    rope_base_swa: 500,
    attention_bias: true,
    seed: 27,
  },
}
const TOKENS = Array.from({ length: 48 }, (_, i) => (37 * i + 11) % 320)

onEveryBackend("tiny models whose layers differ, against their plan in double precision", (backend) => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-layers-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test.each(Object.entries(CASES))("%s", async (name, options) => {
    const path = join(folder, `${name}.gguf`)
    await writeTinyModel(path, options)
    const gguf = await openGguf(path)
    const { plan, config } = buildModel(gguf)
    const expected = Float32Array.from(await interpretPlan(plan, gguf, TOKENS))

    using runner = await PlanRunner.open(path, { maxTokens: TOKENS.length, backend })
    const whole = runner.run(TOKENS)
    expect(worstError(whole.logits, expected, config.nVocab)).toBeLessThan(1e-4)
    for (const chunk of [1, 7]) {
      const parts = runner.run(TOKENS, chunk)
      expect(worstError(parts.logits, whole.logits, config.nVocab)).toBeLessThan(1e-5)
      expect(parts.chosen).toEqual(whole.chosen)
    }
  })
})
