/** Embeddings of the tiny models against those of transformers, alone and beside other requests. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { z } from "zod"
import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { embedTokens } from "../../src/engine/prefill-only.ts"
import { superviseModel } from "../../src/engine/process/index.ts"
import { type Engine, GREEDY, type Pooling } from "../../src/engine/types.ts"
import { EngineError, OverloadedError, RequestError } from "../../src/errors.ts"
import { CASES } from "../golden/models/cases.ts"
import { goldenModels } from "../support/golden-models.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

const vectors = z.object({ mean: z.array(z.number()), cls: z.array(z.number()), last: z.array(z.number()) })
const golden = z
  .record(z.string(), vectors)
  .parse(await Bun.file(join(import.meta.dir, "../golden/models/embeddings.json")).json())
const POOLINGS = ["mean", "cls", "last"] as const

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-embed-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function open(name: string, options: LoadOptions = {}) {
  const path = join(folder, `${name}.gguf`)
  await writeTinyModel(path, CASES[name])
  const tokens = Int32Array.from((await goldenModels()).get(name)?.tokens ?? [])
  return { path, tokens, model: await loadModel(path, { device: "cpu", threads: 1, kvType: "f32", ...options }) }
}

let ids = 0
const embed = (engine: Engine, tokens: Int32Array, pooling: Pooling, more: object = {}, signal?: AbortSignal) =>
  embedTokens(engine, { id: `e${ids++}`, tokens, pooling, ...more }, signal)

const difference = (found: Float32Array, expected: ArrayLike<number>): number =>
  found.length === expected.length
    ? found.reduce((most, value, i) => Math.max(most, Math.abs(value - (expected[i] ?? Number.NaN))), 0)
    : Number.POSITIVE_INFINITY

async function generated(engine: Engine, tokens: Int32Array, maxTokens: number, priority = 0): Promise<number[]> {
  const out: number[] = []
  const request = { id: `g${ids++}`, tokens, sampling: GREEDY, maxTokens, priority, stopTokens: new Set<number>() }
  for await (const event of engine.generate(request)) if (event.type === "token") out.push(event.token)
  return out
}

test.each(Object.keys(CASES))("%s, whole and in chunks", async (name) => {
  for (const batchSize of [64, 7]) {
    const { model, tokens } = await open(name, { batchSize, maxSeqs: 2 })
    await using _ = model
    for (const pooling of POOLINGS) {
      const { vector, usage } = await embed(model.engine, tokens, pooling)
      expect(difference(vector, golden[name]?.[pooling] ?? [])).toBeLessThan(1e-5)
      expect(usage).toMatchObject({ promptTokens: tokens.length, completionTokens: 0, cachedTokens: 0 })
    }
  }
})

describe("beside other requests", () => {
  test("embeddings and generated texts do not change each other, also when both are preempted", async () => {
    // The cache has room for two such texts, so sequences are preempted and computed again.
    const { model, tokens } = await open("llama", { batchSize: 24, ctxSize: 128, fullLengths: 1, maxSeqs: 4 })
    await using _ = model
    const { engine } = model
    const text = await generated(engine, tokens.subarray(0, 30), 60)
    const first = POOLINGS.map((pooling) => embed(engine, tokens, pooling))
    // These requests have started when requests of higher priority arrive and preempt them.
    for (let turn = 0; engine.stats().running === 0 && turn < 100; turn++) await new Promise(setImmediate)
    expect(engine.stats().running).toBeGreaterThan(0)
    const mixed = await Promise.all([
      generated(engine, tokens.subarray(0, 30), 60, -1),
      ...first,
      generated(engine, tokens.subarray(0, 30), 60),
      ...POOLINGS.map((pooling) => embed(engine, tokens, pooling, { priority: -1 })),
    ])
    for (const [i, found] of mixed.entries()) {
      if (Array.isArray(found)) expect(found).toEqual(text)
      else
        expect(
          difference(found.vector, golden.llama?.[POOLINGS[(i - 1) % 4] as (typeof POOLINGS)[number]] ?? []),
        ).toBeLessThan(1e-5)
    }
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 8 })
    expect(engine.stats().nPreemptions).toBeGreaterThan(0)
  })

  test("a text that fills the context, and a text of one token, are embedded", async () => {
    const { model, tokens } = await open("llama", { ctxSize: 64 })
    await using _ = model
    expect(tokens).toHaveLength(64)
    const { vector } = await embed(model.engine, tokens, "mean")
    expect(difference(vector, golden.llama?.mean ?? [])).toBeLessThan(1e-5)
    const [mean, last] = await Promise.all([
      embed(model.engine, tokens.subarray(0, 1), "mean"),
      embed(model.engine, tokens.subarray(0, 1), "last"),
    ])
    expect(mean.vector).toEqual(last.vector)
    expect(difference(last.vector, golden.llama?.cls ?? [])).toBeLessThan(1e-5)
  })

  test("refused, cancelled and late requests end with their errors", async () => {
    const { model, tokens } = await open("llama", { ctxSize: 64, batchSize: 1, maxSeqs: 1 })
    await using _ = model
    const { engine } = model
    expect(embed(engine, new Int32Array(0), "mean")).rejects.toThrow(RequestError)
    expect(embed(engine, new Int32Array(65), "mean")).rejects.toThrow("maximum context length is 64 tokens")
    expect(embed(engine, Int32Array.of(320), "mean")).rejects.toThrow("token 320 does not exist")
    const controller = new AbortController()
    const cancelled = embed(engine, tokens, "mean", {}, controller.signal)
    controller.abort(new EngineError("stopped by hand"))
    expect(cancelled).rejects.toThrow("stopped by hand")
    expect(embed(engine, tokens, "mean", { deadlineMs: 1e-3 })).rejects.toThrow(OverloadedError)
    expect(difference((await embed(engine, tokens, "last")).vector, golden.llama?.last ?? [])).toBeLessThan(1e-5)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

test("an engine in another process gives the same embeddings", async () => {
  const { model, path, tokens } = await open("qwen3")
  await model.close()
  await using supervised = await superviseModel(path, { device: "cpu", threads: 1, kvType: "f32" })
  const found = await Promise.all(POOLINGS.map((pooling) => embed(supervised.engine, tokens, pooling)))
  for (const [i, { vector }] of found.entries())
    expect(difference(vector, golden.qwen3?.[POOLINGS[i] as (typeof POOLINGS)[number]] ?? [])).toBeLessThan(1e-5)
})
