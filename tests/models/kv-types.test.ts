/** Whole models with a q8_0 K/V cache: the same bits for any chunks of a prompt, and small changes of the distributions. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { loadModel } from "../../src/engine/load.ts"
import { NativeError } from "../../src/native/errors.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { relativeDistance } from "../support/kernel-check.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"
import { logSoftmax, readRealGolden } from "../support/real-golden.ts"
import { PlanRunner, type RunOptions } from "../support/run-plan.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-kv-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

onEveryBackend("a tiny model with a q8_0 cache", (backend) => {
  test.each([64, 96])("heads of %d: whole = chunks of 7 = token by token", async (headDim) => {
    const path = join(folder, `tiny-${backend}-${headDim}.gguf`)
    await writeTinyModel(path, { hidden: 128, heads: 4, kv_heads: 2, head_dim: headDim, layers: 3, format: "Q8_0" })
    const tokens = Array.from({ length: 50 }, (_, i) => (i * 37 + 11) % 320)
    const open = (options: Partial<RunOptions>) => PlanRunner.open(path, { maxTokens: tokens.length, ...options })
    using runner = await open({ kvType: "q8_0", backend })
    const whole = runner.run(tokens).logits
    for (const chunk of [7, 1]) {
      const cut = runner.run(tokens, chunk).logits
      if (backend === "cpu") expect(cut).toEqual(whole)
      // On other backends the order of sums differs, which may round a few elements of the cache differently.
      else expect(relativeDistance(cut, whole)).toBeLessThan(1e-2)
    }
    using exact = await open({ kvType: "f32" })
    const error = relativeDistance(whole, exact.run(tokens).logits)
    expect(error).toBeLessThan(3e-2)
    expect(error).toBeGreaterThan(1e-6) // otherwise nothing was rounded at all
  })
})

describe("q8_0 caches", () => {
  test("a model whose head size is not divisible by the block size is refused, with a remedy", async () => {
    const path = join(folder, "heads-of-48.gguf")
    await writeTinyModel(path, { hidden: 96, heads: 2, kv_heads: 1 })
    const problem = await loadModel(path, { device: "cpu", kvType: "q8_0" }).then(
      () => undefined,
      (error: unknown) => error,
    )
    expect(problem).toBeInstanceOf(NativeError)
    expect((problem as NativeError).status).toBe("UNSUPPORTED")
    expect((problem as NativeError).message).toContain("heads of 48")
    expect((problem as NativeError).remedy).toContain("--kv-type f16")
    await using model = await loadModel(path, { device: "cpu", kvType: "f16" })
    expect(model.config.layers[0]?.headDim).toBe(48)
  })

  test("they take 17/32 of the memory of f16 caches", async () => {
    const path = join(folder, "memory.gguf")
    await writeTinyModel(path, { hidden: 128, heads: 2, kv_heads: 2 })
    const bytes: number[] = []
    for (const kvType of ["q8_0", "f16"] as const) {
      using runner = await PlanRunner.open(path, { maxTokens: 256, kvType })
      bytes.push(runner.cacheBytes)
      expect(runner.cacheBytes / runner.definition.plan.cacheBytesPerToken(kvType)).toBe(256 + 16)
    }
    expect((bytes[0] as number) / (bytes[1] as number)).toBe(17 / 32)
  })
})

test("the default model over 512 tokens: q8_0 against f16", async () => {
  const golden = await readRealGolden()
  const path = await resolveModel("smollm2-135m")
  const tokens = golden.text_tokens.slice(0, -1)
  const run = async (kvType: "f16" | "q8_0") => {
    using runner = await PlanRunner.open(path, { maxTokens: tokens.length, kvType })
    return runner.run(tokens, 128)
  }
  const [half, eight] = [await run("f16"), await run("q8_0")]
  const vocab = half.logits.length / tokens.length
  let divergence = 0
  let change = 0 // of the sum of negative log-probabilities of the text
  let sameBest = 0
  for (let i = 0; i < tokens.length; i++) {
    const [p, q] = [half, eight].map(({ logits }) => logSoftmax(logits.subarray(i * vocab, (i + 1) * vocab))) as [
      Float64Array,
      Float64Array,
    ]
    for (let t = 0; t < vocab; t++) divergence += Math.exp(p[t] as number) * ((p[t] as number) - (q[t] as number))
    const next = golden.text_tokens[i + 1] as number
    change += (p[next] as number) - (q[next] as number)
    if (half.chosen[i] === eight.chosen[i]) sameBest++
  }
  const kl = divergence / tokens.length
  const perplexity = Math.exp(change / tokens.length) - 1
  console.log(
    `KL(f16 ‖ q8_0) ${kl.toExponential(2)}, perplexity ${(100 * perplexity).toFixed(3)} %, ` +
      `same best token ${sameBest} of ${tokens.length}`,
  )
  expect(kl).toBeLessThan(1e-3)
  expect(kl).toBeGreaterThan(0)
  expect(Math.abs(perplexity)).toBeLessThan(0.005)
  expect(sameBest).toBeGreaterThan(0.98 * tokens.length)
}, 120_000)
