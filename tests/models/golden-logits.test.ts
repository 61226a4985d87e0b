import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { CASES } from "../golden/models/cases.ts"
import { goldenModels, worstError } from "../support/golden-models.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"
import { PlanRunner } from "../support/run-plan.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

const golden = await goldenModels()

onEveryBackend("tiny models against transformers in float32", (backend) => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-golden-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test.each(Object.entries(CASES))("%s", async (name, options) => {
    const model = golden.get(name)
    if (model === undefined) throw new Error(`no golden data for ${name}: run tests/golden/models/generate.py`)
    const { tokens, n_vocab, logits } = model
    const path = join(folder, `${name}.gguf`)
    expect(await writeTinyModel(path, options)).toBe(model.sha256)

    using runner = await PlanRunner.open(path, { maxTokens: tokens.length, backend })
    const whole = runner.run(tokens)
    expect(worstError(whole.logits, logits, n_vocab)).toBeLessThan(1e-4)
    for (const chunk of [1, 7]) {
      const parts = runner.run(tokens, chunk)
      expect(worstError(parts.logits, whole.logits, n_vocab)).toBeLessThan(1e-5)
      expect(parts.chosen).toEqual(whole.chosen)
    }
    const greedy = tokens.map((_, t) => {
      const row = whole.logits.subarray(t * n_vocab, (t + 1) * n_vocab)
      return row.indexOf(Math.max(...row))
    })
    expect(whole.chosen).toEqual(greedy)
  })
})
