import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { FORMATS, type FormatName } from "../../src/gguf/formats.ts"
import { openGguf } from "../../src/gguf/reader.ts"
import { buildModel } from "../../src/models/registry.ts"
import { worstError } from "../support/golden-models.ts"
import { interpretPlan } from "../support/interpret-plan.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"
import { PlanRunner } from "../support/run-plan.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

const NAMES = FORMATS.map(({ name }) => name)

/** The format of each tensor: every format occurs, and the three weights of one op have different formats. */
function dealOut(): (tensor: string) => FormatName {
  let next = 0
  return () => NAMES[next++ % NAMES.length] ?? "F32"
}

onEveryBackend("models whose weights have different formats", (backend) => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-formats-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test.each(["llama", "qwen2", "qwen3"] as const)("%s: Q, K and V of three formats in one op", async (arch) => {
    const path = join(folder, `${arch}.gguf`)
    await writeTinyModel(path, { arch, hidden: 256, ffn: 256, heads: 4, kv_heads: 2, layers: 3, format: dealOut() })
    const gguf = await openGguf(path)
    const { plan, config } = buildModel(gguf)
    const qkv = plan.ops.find(({ kind, layer }) => kind === "MATMUL" && layer === 0)
    expect(new Set(qkv?.weights.slice(0, 3).map((w) => w?.format.name)).size).toBe(3)
    expect(new Set(plan.weights.map((w) => w.format.name)).size).toBe(NAMES.length)

    const tokens = Array.from({ length: 24 }, (_, i) => (i * 37 + 11) % config.nVocab)
    const expected = Float32Array.from(await interpretPlan(plan, gguf, tokens))
    using runner = await PlanRunner.open(path, { maxTokens: tokens.length, backend })
    const whole = runner.run(tokens)
    // Products with quantized weights round the activations, so this bound is looser than that of the F32 models.
    expect(worstError(whole.logits, expected, config.nVocab)).toBeLessThan(2e-3)
    for (const chunk of [1, 5]) expect(runner.run(tokens, chunk).logits).toEqual(whole.logits)
  })

  if (backend === "cpu") return
  test.each(["f16", "bf16"] as const)(
    "on the matrix units in %s: the same bits for any chunks of a prompt",
    async (compute) => {
      const path = join(folder, `${compute}.gguf`)
      await writeTinyModel(path, {
        arch: "llama",
        hidden: 256,
        ffn: 512,
        heads: 4,
        kv_heads: 2,
        layers: 2,
        format: dealOut(),
      })
      const tokens = Array.from({ length: 700 }, (_, i) => (i * 37 + 11) % 256)
      using runner = await PlanRunner.open(path, { maxTokens: tokens.length, kvType: "f16", backend, compute })
      const whole = runner.run(tokens)
      for (const chunk of [1, 9, 100]) expect(runner.run(tokens, chunk).logits).toEqual(whole.logits)
    },
  )
})
