import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { CASES } from "../../golden/models/cases.ts"
import { goldenModels, worstError } from "../../support/golden-models.ts"
import { interpretPlan } from "../../support/interpret-plan.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

const golden = await goldenModels()

describe("plans, interpreted in double precision, against transformers in float32", () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-plan-"))
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test("every case has golden data", () => {
    expect([...golden.keys()]).toEqual(Object.keys(CASES))
  })

  test.each(Object.entries(CASES))("%s", async (name, options) => {
    const model = golden.get(name)
    if (model === undefined) throw new Error(`no golden data for ${name}: run tests/golden/models/generate.py`)
    const path = join(folder, `${name}.gguf`)
    expect(await writeTinyModel(path, options)).toBe(model.sha256)
    const gguf = await openGguf(path)
    const logits = await interpretPlan(buildModel(gguf).plan, gguf, model.tokens)
    expect(worstError(logits, model.logits, model.n_vocab)).toBeLessThan(2e-5)
  })
})
