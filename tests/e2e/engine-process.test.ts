/** The engine in a process of its own gives what the engine in this process gives: tokens, errors, cancellation, statistics. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { join } from "node:path"
import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { superviseModel } from "../../src/engine/process/index.ts"
import { GREEDY } from "../../src/engine/types.ts"
import { OverloadedError, RequestError } from "../../src/errors.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { temporaryFolder } from "./cli-runner.ts"
import { outcome, request, supervise, until } from "./support/supervised.ts"

setDefaultTimeout(60_000)

const folder = temporaryFolder("process")
const path = join(folder.path, "tiny.gguf")
let supervised: Awaited<ReturnType<typeof supervise>>

beforeAll(async () => {
  await writeTinyModel(path, { context_length: 4096 })
  supervised = await supervise(path)
})
afterAll(async () => {
  await supervised.model.close()
  folder.remove()
})

const prompt = (i: number) => Array.from({ length: 3 + i }, (_, k) => (7 * i + 3 * k) % 300)

test("the model is described as in this process", async () => {
  await using local = await loadModel(path, { device: "cpu", threads: 1 })
  const { model } = supervised
  expect(model.engine.limits).toEqual(local.engine.limits)
  expect(model.engine.health()).toEqual({ state: "ready" })
  for (const key of ["name", "path", "config", "device", "threads", "memory"] as const) {
    expect(model[key]).toEqual(local[key] as never)
  }
  expect(model.tokenizer.encode("Hello")).toEqual(local.tokenizer.encode("Hello"))
})

test("sixteen requests at once: the same tokens, log-probabilities and ends as in this process", async () => {
  await using local = await loadModel(path, { device: "cpu", threads: 1 })
  const sampling = {
    ...GREEDY,
    temperature: 1.2,
    topK: 40,
    seed: 2n ** 63n + 5n,
    logprobs: 3,
    repetitionPenalty: 1.1,
  }
  const requests = Array.from({ length: 16 }, (_, i) =>
    request(prompt(i), {
      maxTokens: 12 + i,
      sampling: i % 2 === 0 ? { ...sampling, logitBias: new Map([[i, 1.5]]) } : GREEDY,
      stopTokens: new Set([3 * i]),
      n: i % 3 === 0 ? 2 : 1,
    }),
  )
  const [ours, theirs] = await Promise.all(
    [local.engine, supervised.engine].map((engine) => Promise.all(requests.map((one) => outcome(engine, one)))),
  )
  const untimed = (results: typeof ours) =>
    results?.map(({ events, error }) => ({
      error,
      choices: [0, 1].map((choice) =>
        events
          .filter(({ index }) => index === choice)
          .map((event) =>
            event.type === "end" ? { ...event, usage: { ...event.usage, prefillMs: 0, decodeMs: 0 } } : event,
          ),
      ),
    }))
  expect(untimed(theirs)).toEqual(untimed(ours))
  expect(theirs?.every(({ ends }) => ends.every(({ usage }) => usage.prefillMs > 0))).toBe(true)
})

test("a choice is ended alone, within a step or two", async () => {
  const { engine } = supervised
  const asked = request(prompt(3), { n: 3, maxTokens: 400 })
  const counts = [0, 0, 0]
  const reasons: string[] = []
  for await (const event of engine.generate(asked)) {
    if (event.type === "end") reasons[event.index] = event.reason
    else if (++(counts[event.index] as number) === 5 && event.index < 2) engine.endChoice(asked.id, event.index)
  }
  expect(reasons).toEqual(["cancelled", "cancelled", "length"])
  expect(counts[2]).toBe(400)
  expect(Math.max(...counts.slice(0, 2))).toBeLessThan(100)
  await until("blocks free", () => engine.stats().blocksFree === engine.stats().blocksTotal)
})

test("a request that cannot be served is refused with the same error", async () => {
  const { engine } = supervised
  const { error } = await outcome(engine, request([5000]))
  expect(error).toBeInstanceOf(RequestError)
  expect(error).toMatchObject({ param: "prompt", code: "invalid_value" })
  const first = engine.generate(request([1], { id: "twice", maxTokens: 2000 }))[Symbol.asyncIterator]()
  await first.next()
  const second = await outcome(engine, request([1], { id: "twice" }))
  expect(second.error).toMatchObject({ name: "RequestError", code: "duplicate_id" })
  await first.return?.()
  // The id is free again at once, whatever the other process has heard.
  const third = await outcome(engine, request([1], { id: "twice" }))
  expect(third.ends).toHaveLength(1)
})

describe("cancelling", () => {
  const idle = () => {
    const { running, waiting, blocksFree, blocksTotal } = supervised.engine.stats()
    return running === 0 && waiting === 0 && blocksFree === blocksTotal
  }

  test("a signal ends the request with what was generated, and frees its blocks", async () => {
    const { engine } = supervised
    const controller = new AbortController()
    let n = 0
    let end: unknown
    for await (const event of engine.generate(request([1, 2], { maxTokens: 4000 }), controller.signal)) {
      if (event.type === "end") end = event
      else if (++n === 5) controller.abort()
    }
    expect(end).toMatchObject({ type: "end", reason: "cancelled", usage: { promptTokens: 2, completionTokens: n } })
    expect(idle()).toBe(true) // said with the end itself
  })

  test("leaving the loop frees the blocks within a step", async () => {
    const { engine } = supervised
    for await (const event of engine.generate(request([1, 2], { maxTokens: 4000 }))) if (event.type === "token") break
    const { steps } = engine.stats()
    await until("the blocks are free", idle)
    expect(engine.stats().steps - steps).toBeLessThan(20) // far from the 4,000 that were asked for
  })

  test("a signal that has fired before generates nothing", async () => {
    const { tokens, ends } = await outcome(supervised.engine, request([1, 2]), { signal: AbortSignal.abort() })
    expect(tokens).toEqual([])
    expect(ends).toMatchObject([{ reason: "cancelled", usage: { promptTokens: 2, completionTokens: 0 } }])
  })
})

test("who reads slowly gets every token, and holds up nobody", async () => {
  const { engine } = supervised
  const slow = engine.generate(request([9], { maxTokens: 400 }))[Symbol.asyncIterator]()
  await slow.next()
  const other = await outcome(engine, request([10], { maxTokens: 600 }))
  expect(other.tokens).toHaveLength(600)
  let n = 1
  while (!(await slow.next()).done) n++
  expect(n).toBe(401)
})

test("a deadline ends a request with an error that says when to come again", async () => {
  const { error, tokens } = await outcome(supervised.engine, request([4], { maxTokens: 4000, deadlineMs: 40 }))
  expect(error).toBeInstanceOf(OverloadedError)
  expect(error).toMatchObject({ code: "deadline", retryAfter: expect.any(Number) })
  expect(tokens.length).toBeLessThan(4000)
})

test("what keeps a model from being loaded comes as the error that it is", async () => {
  const junk = join(folder.path, "junk.gguf")
  await Bun.write(junk, "not a model at all, but long enough for a header")
  const cases: [string, LoadOptions][] = [
    [join(folder.path, "nowhere.gguf"), { device: "cpu" }],
    [junk, { device: "cpu" }],
    [path, { device: "cuckoo" }],
    [path, { device: "cpu", dtype: "bf16" }],
    [path, { device: "cpu", ctxSize: 2 ** 40 }],
  ]
  for (const [file, options] of cases) {
    const local = await loadModel(file, options).catch((error: unknown) => error as Error)
    const remote = await superviseModel(file, options).catch((error: unknown) => error as Error)
    if (!(local instanceof Error && remote instanceof Error)) throw new Error(`${file} was loaded`)
    expect(remote.constructor).toBe(local.constructor)
    // The free memory that a message may name differs from moment to moment.
    const text = ({ message }: Error) => message.replace(/\d+(\.\d+)?/g, "N")
    expect(text(remote)).toBe(text(local))
    expect(Object.keys(remote).sort()).toEqual(Object.keys(local).sort())
    expect(remote).toMatchObject({ ...local, ...("remedy" in local && { remedy: expect.any(String) }) })
  }
})
