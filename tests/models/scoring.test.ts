/** Log-probabilities of prompts against the golden logits, alone and beside other requests. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { scoreTokens } from "../../src/engine/prefill-only.ts"
import { superviseModel } from "../../src/engine/process/index.ts"
import { type Engine, GREEDY, type TokenLogprobs } from "../../src/engine/types.ts"
import { EngineError, RequestError } from "../../src/errors.ts"
import { CASES } from "../golden/models/cases.ts"
import { type GoldenModel, goldenModels } from "../support/golden-models.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

const golden = await goldenModels()

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-score-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function open(name: string, options: LoadOptions = {}) {
  const path = join(folder, `${name}.gguf`)
  await writeTinyModel(path, CASES[name])
  const tokens = Int32Array.from(golden.get(name)?.tokens ?? [])
  return { path, tokens, model: await loadModel(path, { device: "cpu", threads: 1, kvType: "f32", ...options }) }
}

let ids = 0
const score = (engine: Engine, tokens: Int32Array, more: object = {}, signal?: AbortSignal) =>
  scoreTokens(engine, { id: `s${ids++}`, tokens, top: 2, ...more }, signal)

/** In float64: the log-probability of each token from the second on, and the two greatest at its position. */
function expected({ logits, n_vocab, tokens }: GoldenModel): TokenLogprobs[] {
  return tokens.slice(1).map((token, i) => {
    const row = Array.from(logits.subarray(i * n_vocab, (i + 1) * n_vocab))
    const most = Math.max(...row)
    const total = most + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0))
    const all = row.map((logit, token) => ({ token, logprob: logit - total }))
    const top = all.sort((a, b) => b.logprob - a.logprob).slice(0, 2)
    return { logprob: (row[token] ?? Number.NaN) - total, top }
  })
}

function check(found: readonly TokenLogprobs[], name: string): void {
  const wanted = expected(golden.get(name) as GoldenModel)
  expect(found.length).toBe(wanted.length)
  for (const [i, { logprob, top }] of wanted.entries()) {
    expect(found[i]?.logprob).toBeCloseTo(logprob, 3)
    expect(found[i]?.top.map(({ token }) => token)).toEqual(top.map(({ token }) => token))
    expect(found[i]?.top[0]?.logprob).toBeCloseTo(top[0]?.logprob ?? Number.NaN, 3)
  }
}

async function generated(engine: Engine, tokens: Int32Array, maxTokens: number, priority = 0): Promise<number[]> {
  const out: number[] = []
  const request = { id: `g${ids++}`, tokens, sampling: GREEDY, maxTokens, priority, stopTokens: new Set<number>() }
  for await (const event of engine.generate(request)) if (event.type === "token") out.push(event.token)
  return out
}

test.each(Object.keys(CASES))("%s, in chunks as large as there are outputs", async (name) => {
  for (const maxSeqs of [64, 5]) {
    const { model, tokens } = await open(name, { batchSize: 64, maxSeqs })
    await using _ = model
    const { scores, usage } = await score(model.engine, tokens)
    check(scores, name)
    expect(usage).toMatchObject({ promptTokens: tokens.length - 1, completionTokens: 0, cachedTokens: 0 })
    expect(model.engine.stats().steps).toBe(Math.ceil((tokens.length - 1) / maxSeqs))
  }
})

describe("beside other requests", () => {
  test.each([{}, { speculative: "ngram" as const }])(
    "texts and scores do not change each other (%j)",
    async (options) => {
      // The cache has room for two such texts, so sequences are preempted and computed again.
      const { model, tokens } = await open("llama", { ctxSize: 128, fullLengths: 1, maxSeqs: 4, ...options })
      await using _ = model
      const { engine } = model
      const text = await generated(engine, tokens.subarray(0, 30), 60)
      const first = Array.from({ length: 3 }, () => score(engine, tokens))
      for (let turn = 0; engine.stats().running === 0 && turn < 100; turn++) await new Promise(setImmediate)
      expect(engine.stats().running).toBeGreaterThan(0)
      const texts = [generated(engine, tokens.subarray(0, 30), 60, -1), generated(engine, tokens.subarray(0, 30), 60)]
      const more = Array.from({ length: 3 }, () => score(engine, tokens, { priority: -1 }))
      for (const { scores } of await Promise.all([...first, ...more])) check(scores, "llama")
      for (const found of await Promise.all(texts)) expect(found).toEqual(text)
      expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 8 })
      expect(engine.stats().nPreemptions).toBeGreaterThan(0)
    },
  )

  test.each([2, 3])("%d texts that are scored in the same steps share the outputs of a step", async (n) => {
    const { model, tokens } = await open("llama", { ctxSize: 128, maxSeqs: 6, batchSize: 64 })
    await using _ = model
    const { engine } = model
    const texts = [0, 7, 14]
      .slice(0, n)
      .map((by) => Int32Array.from([...tokens.subarray(by), ...tokens.subarray(0, by)]))
    const alone: TokenLogprobs[][] = []
    for (const text of texts) alone.push((await score(engine, text)).scores)
    const together = await Promise.all(texts.map((text) => score(engine, text)))
    expect(together.map(({ scores }) => scores)).toEqual(alone)
  })

  test("a prompt that continues a scored text finds it in the cache", async () => {
    const { model, tokens } = await open("llama", { ctxSize: 128 })
    await using _ = model
    const { engine } = model
    await score(engine, tokens)
    await generated(engine, tokens, 1)
    expect(engine.stats().prefixHitTokens).toBe(48)
    check((await score(engine, tokens)).scores, "llama")
  })

  test("a text that fills the context is scored; invalid and cancelled requests end with their errors", async () => {
    const { model, tokens } = await open("llama", { ctxSize: 64, maxSeqs: 1, batchSize: 1 })
    await using _ = model
    const { engine } = model
    expect(tokens).toHaveLength(64)
    check((await score(engine, tokens)).scores, "llama")
    expect(score(engine, tokens.subarray(0, 1))).rejects.toThrow(RequestError)
    expect(score(engine, Int32Array.of(1, 320))).rejects.toThrow("token 320 does not exist")
    expect(score(engine, Int32Array.of(1, 2), { top: 21 })).rejects.toThrow("logprobs is 21")
    const controller = new AbortController()
    const cancelled = score(engine, tokens, {}, controller.signal)
    controller.abort(new EngineError("stopped by hand"))
    expect(cancelled).rejects.toThrow("stopped by hand")
    check((await score(engine, tokens)).scores, "llama")
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0 })
  })
})

test("an engine in another process gives the same scores", async () => {
  const { model, path, tokens } = await open("qwen3")
  await model.close()
  await using supervised = await superviseModel(path, { device: "cpu", threads: 1, kvType: "f32" })
  check((await score(supervised.engine, tokens)).scores, "qwen3")
})
