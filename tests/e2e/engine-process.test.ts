/** An engine in a child process behaves like one in this process: tokens, errors, cancellation, statistics. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { nextTurn } from "../../src/async.ts"
import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import { superviseModel } from "../../src/engine/process/index.ts"
import { type EngineStats, GREEDY } from "../../src/engine/types.ts"
import { OverloadedError, RequestError } from "../../src/errors.ts"
import { FakeClock } from "../support/clock.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { temporaryFolder } from "./cli-runner.ts"
import { FAULTS } from "./support/faults.ts"
import { atGate, gated, outcome, request, supervise, superviseFaulty } from "./support/supervised.ts"

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

test("describes the model as an engine in this process does", async () => {
  await using local = await loadModel(path, { device: "cpu", threads: 1 })
  const { model } = supervised
  expect(model.engine.limits).toEqual(local.engine.limits)
  expect(model.engine.health()).toEqual({ state: "ready" })
  for (const key of ["name", "path", "config", "device", "threads", "memory"] as const) {
    expect(model[key]).toEqual(local[key] as never)
  }
  expect(model.tokenizer.encode("Hello")).toEqual(local.tokenizer.encode("Hello"))
})

test("sixteen concurrent requests have the same tokens, log-probabilities and ends as in this process", async () => {
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

test("ends one sequence of several between two steps", async () => {
  const { engine, files } = superviseFaulty()
  await engine.started
  const asked = gated({ n: 3 })
  const counts = [0, 0, 0]
  const reasons: string[] = []
  for await (const event of engine.generate(asked)) {
    if (event.type === "end") reasons[event.index] = event.reason
    // The first sequence waits at the gate, and so does the whole step.
    else if (++(counts[event.index] as number) === 3 && event.index === 0) {
      for (const index of [0, 1]) engine.endSequence(asked.id, index)
      await nextTurn() // the messages are sent at the end of this turn
      await nextTurn()
      for (const gate of ["gate", "secondGate"] as const) files.set(gate)
    }
  }
  expect(reasons).toEqual(["cancelled", "cancelled", "length"])
  expect(counts[2]).toBe(60)
  // The engine process reads its messages between two steps.
  expect(Math.max(...counts.slice(0, 2))).toBeLessThan(10)
  const { blocksFree, blocksTotal } = engine.stats()
  expect(blocksFree).toBe(blocksTotal)
  await engine.close()
})

test("an invalid request is refused with the same error as in this process", async () => {
  const { engine } = supervised
  const { error } = await outcome(engine, request([5000]))
  expect(error).toBeInstanceOf(RequestError)
  expect(error).toMatchObject({ param: "prompt", code: "invalid_value" })
  const first = engine.generate(request([1], { id: "twice", maxTokens: 2000 }))[Symbol.asyncIterator]()
  await first.next()
  const second = await outcome(engine, request([1], { id: "twice" }))
  expect(second.error).toMatchObject({ name: "RequestError", code: "duplicate_id" })
  await first.return?.()
  // The id can be reused at once, whether or not the engine process has read the cancellation.
  const third = await outcome(engine, request([1], { id: "twice" }))
  expect(third.ends).toHaveLength(1)
})

describe("cancelling", () => {
  const isIdle = ({ running, waiting, blocksFree, blocksTotal }: EngineStats) =>
    running === 0 && waiting === 0 && blocksFree === blocksTotal

  test("a signal ends the request, keeps the generated tokens, and frees its blocks", async () => {
    const { engine, files } = superviseFaulty()
    await engine.started
    const controller = new AbortController()
    let n = 0
    let end: unknown
    for await (const event of engine.generate(gated(), controller.signal)) {
      if (event.type === "end") end = event
      else if (++n === 3) {
        controller.abort()
        files.set("gate")
      }
    }
    expect(end).toMatchObject({ type: "end", reason: "cancelled", usage: { promptTokens: 1, completionTokens: n } })
    expect(isIdle(engine.stats())).toBe(true) // the end message carries the new statistics
    await engine.close()
  })

  // tests/unit/engine/engine.test.ts shows that no further step computes such a request. Here, steps run while the message travels.
  test("after its reader leaves the loop, the engine process frees the blocks and generates no further token", async () => {
    const { engine } = supervised
    for await (const event of engine.generate(request([1, 2], { maxTokens: 4000 }))) if (event.type === "token") break
    // Messages keep their order: once a later request has ended, the engine process has read the cancellation.
    await outcome(engine, request([3], { maxTokens: 1 }))
    const before = engine.stats()
    expect(isIdle(before)).toBe(true)
    await outcome(engine, request([4], { maxTokens: 50 }))
    const after = engine.stats()
    expect(after.generatedTokens - before.generatedTokens).toBe(50)
    expect(after.steps - before.steps).toBe(50)
    expect(isIdle(after)).toBe(true)
  })

  test("with a signal that is already aborted, nothing is generated", async () => {
    const { tokens, ends } = await outcome(supervised.engine, request([1, 2]), { signal: AbortSignal.abort() })
    expect(tokens).toEqual([])
    expect(ends).toMatchObject([{ reason: "cancelled", usage: { promptTokens: 2, completionTokens: 0 } }])
  })
})

test("a slow reader receives every token and does not delay others", async () => {
  const { engine } = supervised
  const slow = engine.generate(request([9], { maxTokens: 400 }))[Symbol.asyncIterator]()
  await slow.next()
  const other = await outcome(engine, request([10], { maxTokens: 600 }))
  expect(other.tokens).toHaveLength(600)
  let n = 1
  while (!(await slow.next()).done) n++
  expect(n).toBe(401)
})

test("a deadline ends a request with an error that has a retry time", async () => {
  const clock = new FakeClock()
  const { engine, files } = superviseFaulty({ clock })
  await engine.started
  const running = await atGate(engine, gated({ deadlineMs: 60_000 }))
  await clock.advance(59_999)
  expect(engine.stats().running).toBe(1)
  await clock.advance(1)
  const { error, tokens } = await running.outcome
  expect(error).toBeInstanceOf(OverloadedError)
  expect(error).toMatchObject({ code: "deadline", retryAfter: expect.any(Number) })
  expect(tokens).toEqual([FAULTS.gate - 2, FAULTS.gate - 1, FAULTS.gate])
  files.set("gate")
  await engine.close()
})

test("a failed load throws the same error as in this process", async () => {
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
    // Messages may contain the amount of free memory, which changes.
    const text = ({ message }: Error) => message.replace(/\d+(\.\d+)?/g, "N")
    expect(text(remote)).toBe(text(local))
    expect(Object.keys(remote).sort()).toEqual(Object.keys(local).sort())
    expect(remote).toMatchObject({ ...local, ...("remedy" in local && { remedy: expect.any(String) }) })
  }
})
