import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { printPlan } from "../../../src/plan/print.ts"
import { CASES } from "../../golden/models/cases.ts"
import { goldenModels, worstError } from "../../support/golden-models.ts"
import { interpretPlan } from "../../support/interpret-plan.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

const golden = await goldenModels()

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-plan-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

describe("printed plans, against the text in tests/golden/models/plans.txt", async () => {
  const text = await Bun.file(join(import.meta.dir, "../../golden/models/plans.txt")).text()
  const sections = text.split(/^== /m).slice(1)
  const plans = new Map(sections.map((section) => [section.slice(0, section.indexOf("\n")), section.trimEnd()]))

  test("every case has a plan", () => {
    expect([...plans.keys()]).toEqual(Object.keys(CASES))
  })

  test.each(Object.entries(CASES))("%s", async (name, options) => {
    const path = join(folder, `printed-${name}.gguf`)
    await writeTinyModel(path, options)
    const { plan } = buildModel(await openGguf(path))
    expect([name, ...printPlan(plan)].join("\n")).toBe(plans.get(name) ?? "")
  })
})

describe("plans, interpreted in double precision, against transformers in float32", () => {
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
