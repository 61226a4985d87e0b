import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { z } from "zod"
import { CASES } from "../golden/models/cases.ts"
import { PlanRunner } from "../support/run-plan.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

const GOLDEN = join(import.meta.dir, "../golden/models")

const Index = z.object({
  positions: z.number(),
  cases: z.record(z.string(), z.object({ sha256: z.string(), n_vocab: z.number(), tokens: z.array(z.number()) })),
})

/** Largest difference between two logit matrices, relative to the size (RMS) of the reference's row. */
function worstError(found: Float32Array, expected: Float32Array, vocab: number): number {
  let worst = 0
  for (let start = 0; start < expected.length; start += vocab) {
    const row = expected.subarray(start, start + vocab)
    const rms = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / vocab)
    for (let i = 0; i < vocab; i++) {
      const error = Math.abs((found[start + i] ?? Number.NaN) - (row[i] ?? 0)) / rms
      if (Number.isNaN(error)) return Number.POSITIVE_INFINITY
      worst = Math.max(worst, error)
    }
  }
  return worst
}

const index = Index.parse(await Bun.file(join(GOLDEN, "index.json")).json())

describe("logits of tiny models against transformers in float32", () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-golden-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test("every case has golden data", () => {
    expect(Object.keys(index.cases)).toEqual(Object.keys(CASES))
  })

  test.each(Object.entries(CASES))("%s", async (name, options) => {
    const golden = index.cases[name]
    if (golden === undefined) throw new Error(`no golden data for ${name}: run tests/golden/models/generate.py`)
    const path = join(folder, `${name}.gguf`)
    expect(await writeTinyModel(path, options)).toBe(golden.sha256)
    const expected = new Float32Array(await Bun.file(join(GOLDEN, `${name}.f32`)).arrayBuffer())
    expect(expected.length).toBe(index.positions * golden.n_vocab)

    using runner = await PlanRunner.open(path, { maxTokens: index.positions })
    const whole = runner.run(golden.tokens)
    expect(worstError(whole.logits, expected, golden.n_vocab)).toBeLessThan(1e-4)

    for (const chunk of [1, 7]) {
      const parts = runner.run(golden.tokens, chunk)
      expect(worstError(parts.logits, whole.logits, golden.n_vocab)).toBeLessThan(1e-5)
      expect(parts.chosen).toEqual(whole.chosen)
    }
    const greedy = Array.from({ length: index.positions }, (_, i) => {
      const row = whole.logits.subarray(i * golden.n_vocab, (i + 1) * golden.n_vocab)
      return row.indexOf(Math.max(...row))
    })
    expect(whole.chosen).toEqual(greedy)
  })
})
