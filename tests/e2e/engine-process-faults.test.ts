/** Requests, memory and open files after an engine process dies, hangs, fails, or cannot be restarted. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { nextTurn } from "../../src/async.ts"
import { EngineError, OverloadedError } from "../../src/errors.ts"
import { FakeClock } from "../support/clock.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { temporaryFolder } from "./cli-runner.ts"
import { FAULTS } from "./support/faults.ts"
import {
  atGate,
  children,
  gated,
  type Outcome,
  openFiles,
  outcome,
  request,
  settled,
  supervise,
  superviseFaulty,
  turnUntil,
  until,
} from "./support/supervised.ts"

const folder = temporaryFolder("faults")
const path = join(folder.path, "tiny.gguf")

beforeAll(async () => {
  await writeTinyModel(path, { context_length: 4096 })
})
afterAll(() => folder.remove())

/** Expects that a request ended exactly once: with all its tokens, or with an error. */
function expectEnded({ tokens, ends, error }: Outcome, maxTokens: number): void {
  expect(ends).toHaveLength(error === undefined ? 1 : 0)
  if (error === undefined) expect(tokens).toHaveLength(maxTokens)
  else expect(error).toBeInstanceOf(EngineError)
}

test("SIGKILL during 16 streams, 20 times: every request ends exactly once, and nothing leaks", async () => {
  const { model, engine, reports } = await supervise(path, { maxSeqs: 8, ctxSize: 512 })
  const maxTokens = 300
  const prompts = Array.from({ length: 16 }, (_, i) => [i + 1, 2 * i + 1])
  const expected = await Promise.all(prompts.map((tokens) => outcome(engine, request(tokens, { maxTokens }))))

  let errors = 0
  let replays = 0
  const round = async (tokensBefore: number) => {
    const before = reports.length
    let seen = 0
    // The process is killed from the loop that reads a stream.
    const onToken = () => {
      if (++seen === tokensBefore) process.kill(engine.pid ?? 0, "SIGKILL")
    }
    const outcomes = await Promise.all(
      prompts.map((tokens) => outcome(engine, request(tokens, { maxTokens }), { onToken })),
    )
    for (const [i, found] of outcomes.entries()) {
      expectEnded(found, maxTokens)
      // A replayed request gives the same answer as one that was not interrupted.
      expect(found.tokens).toEqual((expected[i]?.tokens ?? []).slice(0, found.tokens.length))
      if (found.error !== undefined) errors++
    }
    await until("the next process is ready", () => reports.length === before + 2)
    expect(reports.slice(before)).toEqual([
      expect.stringContaining("was killed (SIGKILL"),
      "tiny: the engine process is ready again",
    ])
    replays += Number(/(\d+) of its requests begin anew/.exec(reports[before] ?? "")?.[1] ?? 0)
  }
  await round(1)
  Bun.gc(true)
  const start = { files: openFiles(), rss: process.memoryUsage.rss() }
  for (let i = 1; i < 20; i++) await round(40 * i)

  expect(errors).toBeGreaterThanOrEqual(20) // requests that had streamed tokens
  expect(replays).toBeGreaterThanOrEqual(20) // requests that had streamed nothing
  expect(await outcome(engine, request([1], { maxTokens: 3 }))).toMatchObject({ error: undefined })
  const stats = engine.stats()
  expect(stats).toMatchObject({ running: 0, waiting: 0, blocksFree: stats.blocksTotal })
  expect(openFiles()).toBe(start.files)
  Bun.gc(true)
  expect(process.memoryUsage.rss() - start.rss).toBeLessThan(48 * 2 ** 20)
  expect(children()).toEqual([engine.pid ?? 0])
  await model.close()
  expect(children()).toEqual([])
})

test("SIGSEGV is reported by name", async () => {
  const clock = new FakeClock()
  const { engine, reports } = superviseFaulty({ clock, backOff: { firstMs: 100, maxMs: 100, healthyMs: 0 } })
  await engine.started
  const running = await atGate(engine)
  process.kill(engine.pid ?? 0, "SIGSEGV")
  const { error } = await settled(clock, running.outcome)
  expect(error).toBeInstanceOf(EngineError)
  expect((error as Error).message).toContain("crashed (SIGSEGV)")
  expect(reports[0]).toContain(
    "faulty: the engine process crashed (SIGSEGV); 1 ended with an error; it will be restarted in 0.1 s",
  )
  expect(engine.health()).toMatchObject({ state: "restarting", reason: expect.stringContaining("SIGSEGV") })
  await clock.advance(100)
  expect(await outcome(engine, request([1], { maxTokens: 3 }))).toMatchObject({ error: undefined })
  expect(engine.health()).toEqual({ state: "ready" })
  await engine.close()
})

test("a stopped process counts as hung and is replaced", async () => {
  const clock = new FakeClock()
  const { engine, reports } = superviseFaulty({ clock, watchdogMs: 600 })
  await engine.started
  const streaming = await atGate(engine)
  process.kill(engine.pid ?? 0, "SIGSTOP")
  const waiting = outcome(engine, request([2], { maxTokens: 5 }))
  await clock.advance(599)
  expect(engine.health()).toEqual({ state: "ready" })
  await clock.advance(1)
  expect((await settled(clock, streaming.outcome)).error).toMatchObject({
    message: expect.stringContaining("hung: no step ended within 0.6 s"),
  })
  expect((await settled(clock, waiting)).tokens).toHaveLength(5)
  expect(reports[0]).toContain("hung")
  await engine.close()
})

describe("misbehaving steps", () => {
  test("neither a long answer that makes progress nor an idle engine counts as hung", async () => {
    const clock = new FakeClock()
    const { engine, reports, files } = superviseFaulty({ clock, watchdogMs: 400 })
    await engine.started
    const asked = gated()
    let n = 0
    for await (const event of engine.generate(asked)) {
      if (event.type === "end") break
      const gate = ({ 3: "gate", 13: "secondGate" } as const)[++n]
      if (gate === undefined) continue
      await clock.advance(299) // two such advances exceed the limit, but there is progress between them
      files.set(gate)
    }
    expect(n).toBe(60)
    await clock.advance(10_000)
    expect(await outcome(engine, request([1]))).toMatchObject({ error: undefined, tokens: [2, 3, 4, 5, 6, 7, 8, 9] })
    expect(reports).toEqual([])
    await engine.close()
  })

  test("a hanging step fails the requests that have streamed; the next process answers the others", async () => {
    const clock = new FakeClock()
    const { engine, reports, files } = superviseFaulty({ clock, watchdogMs: 400 })
    await engine.started
    const begun = await atGate(engine)
    const all = Promise.all([
      outcome(engine, request([FAULTS.hang])),
      // More requests than can run at the same time.
      Promise.all([10, 20, 30, 40, 50, 60].map((token) => outcome(engine, request([token], { maxTokens: 40 })))),
    ])
    await nextTurn() // the messages are sent at the end of this turn
    await nextTurn()
    files.set("gate")
    const hangs = () => reports.filter((line) => line.includes("hung")).length
    for (const n of [1, 2, 3]) {
      await settled(
        clock,
        until("a step hangs", () => files.nHangs === n),
      )
      await turnUntil(clock, 100, () => hangs() === n)
    }
    const [hung, others] = await settled(clock, all)
    expect((await begun.outcome).error).toBeInstanceOf(EngineError)
    // This request ran in three processes, which all hung.
    expect(hung.error).toMatchObject({ message: expect.stringContaining("as did 2 before it that had this request") })
    // These requests ran in two of the processes, and were then held back until the cause was known.
    for (const { error, tokens } of others) expect({ error, n: tokens.length }).toEqual({ error: undefined, n: 40 })
    expect(hangs()).toBe(3)
    await engine.close()
  })

  test("a failing step causes the process to be replaced", async () => {
    const { engine, reports } = superviseFaulty()
    await engine.started
    const failing = await outcome(engine, request([FAULTS.fail - 3], { maxTokens: 20 }))
    expect(failing.tokens).toEqual([899, 900, 901])
    expect(failing.error).toMatchObject({ name: "EngineError", message: expect.stringContaining("the GPU was lost") })
    expect(reports[0]).toContain("failed: the step failed: the GPU was lost")
    expect(await outcome(engine, request([1]))).toMatchObject({ error: undefined })
    await engine.close()
  })

  test("a process that exits is replaced, and its exit code is reported", async () => {
    const { engine, reports } = superviseFaulty()
    await engine.started
    const { error } = await outcome(engine, request([FAULTS.exit - 3], { maxTokens: 20 }))
    expect(error).toMatchObject({ message: expect.stringContaining("exited with code 7") })
    expect(reports[0]).toContain("exited with code 7")
    await engine.close()
  })
})

test("a full queue refuses a request at once, even while the process computes", async () => {
  const { engine, files } = superviseFaulty({ maxHeld: 8 })
  await engine.started
  const others = Array.from({ length: 3 }, (_, i) => outcome(engine, request([i], { maxTokens: 100 })))
  const running = await atGate(engine)
  others.push(running.outcome)
  // The process computes, and reads no messages, until the gate is opened.
  const queued = Array.from({ length: 8 }, (_, i) => outcome(engine, request([100 + i])))
  const { error } = await outcome(engine, request([1]))
  expect(error).toMatchObject({ name: "OverloadedError", code: "queue_full" })
  for (const gate of ["gate", "secondGate"] as const) files.set(gate)
  for (const { error, tokens } of await Promise.all([...others, ...queued])) {
    expect(error).toBeUndefined()
    expect(tokens.length).toBeGreaterThan(0)
  }
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, queued: 0 })
  await engine.close()
})

describe("while there is no process", () => {
  /** An engine whose process died and cannot be restarted. */
  async function broughtDown(options: Parameters<typeof superviseFaulty>[0]) {
    const { engine, reports, files } = superviseFaulty(options)
    await engine.started
    files.set("broken")
    process.kill(engine.pid ?? 0, "SIGKILL")
    await until("it is noticed", () => engine.health().state !== "ready")
    return { engine, reports, files }
  }

  const SLOW = { firstMs: 100, maxMs: 100, healthyMs: 0 }

  test("requests are held, up to a limit, and can be answered, cancelled, or miss their deadline", async () => {
    const clock = new FakeClock()
    const { engine, files } = await broughtDown({ maxHeld: 4, backOff: SLOW, clock })
    const controller = new AbortController()
    const held = [
      outcome(engine, request([1])),
      outcome(engine, request([2]), controller),
      outcome(engine, request([3], { deadlineMs: 30 })),
      outcome(engine, request([4])),
    ]
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 4 })
    const refused = await outcome(engine, request([5]))
    expect(refused.error).toBeInstanceOf(OverloadedError)
    expect(refused.error).toMatchObject({ code: "unavailable", retryAfter: 1 })
    controller.abort()
    expect((await held[1])?.ends).toMatchObject([{ reason: "cancelled", usage: { completionTokens: 0 } }])
    await clock.advance(30)
    expect((await held[2])?.error).toMatchObject({ name: "OverloadedError", code: "deadline" })
    files.clear("broken")
    await clock.advance(70)
    expect((await held[0])?.tokens).toEqual([2, 3, 4, 5, 6, 7, 8, 9])
    expect((await held[3])?.tokens).toEqual([5, 6, 7, 8, 9, 10, 11, 12])
    expect((await held[0])?.ends[0]?.usage.prefillMs).toBeGreaterThan(100) // includes the time without a process
    await engine.close()
  })

  test("all requests are answered, even more of them than the next process can queue", async () => {
    const clock = new FakeClock()
    const { engine, files } = await broughtDown({ maxHeld: 20, backOff: SLOW, clock })
    const held = Array.from({ length: 20 }, (_, i) => outcome(engine, request([10 * i])))
    files.clear("broken")
    await clock.advance(100)
    for (const [i, { error, tokens }] of (await Promise.all(held)).entries()) {
      expect({ error, first: tokens[0], n: tokens.length }).toEqual({ error: undefined, first: 10 * i + 1, n: 8 })
    }
    await engine.close()
  })

  test("after eight failed starts the engine has failed, and every request gets the reason", async () => {
    const { engine, reports } = await broughtDown({})
    const waiting = await outcome(engine, request([1]))
    expect(waiting.error).toBeInstanceOf(EngineError)
    expect(waiting.error).toMatchObject({
      message: expect.stringContaining("could not be restarted, 8 times in a row"),
      cause: { name: "ModelError", code: "unsupported" },
    })
    expect(engine.health()).toMatchObject({ state: "failed", reason: expect.stringContaining("the test says so") })
    expect((await outcome(engine, request([1]))).error).toBe(waiting.error)
    expect(reports).toHaveLength(9)
    expect(engine.pid).toBeUndefined()
    await engine.close()
    expect(engine.health().state).toBe("closed")
  })

  test("the wait before a restart doubles", async () => {
    const clock = new FakeClock()
    const { engine, reports } = await broughtDown({
      backOff: { firstMs: 100, maxMs: 400, healthyMs: 10_000 },
      clock,
    })
    await turnUntil(clock, 100, () => engine.health().state === "failed")
    const waits = reports.map((line) => /will be restarted in (.*) s/.exec(line)?.[1])
    expect(waits).toEqual(["0.1", "0.2", "0.4", "0.4", "0.4", "0.4", "0.4", "0.4", undefined])
    await engine.close()
  })
})

describe("a process that does not start", () => {
  test("reports the progress of the weight upload until it is ready", async () => {
    const seen: number[] = []
    const { engine } = superviseFaulty({ onUpload: ({ done, total }) => seen.push(done / total) })
    expect(engine.health()).toMatchObject({ state: "starting" })
    await engine.started
    expect(seen).toEqual([0, 0.5, 1])
    await engine.close()
  })

  test("because loading hangs", async () => {
    const clock = new FakeClock()
    const { engine, files } = superviseFaulty({ startMs: 300, clock })
    files.set("mute")
    const failed = engine.started.catch((thrown: unknown) => thrown)
    await turnUntil(clock, 75, () => engine.health().state === "failed")
    const error = await failed
    expect(error).toBeInstanceOf(EngineError)
    expect(error).toMatchObject({
      message: "the engine process hung: it sent no message for 0.3 s while it loaded the model",
    })
    await engine.close()
  })

  const STRANGERS: [name: string, command: string[], message: string][] = [
    ["there is none", ["/nowhere/rocmforge"], "could not be started"],
    ["it ends", [process.execPath, "-e", "process.exit(3)"], "exited with code 3 while it loaded the model"],
    [
      "it has another version",
      talking({ type: "hello", protocol: "0" }),
      "another version than this process; restart the server",
    ],
    ["it sends something else", talking("good morning"), "sent a message that cannot be read"],
  ]
  function talking(message: unknown): string[] {
    return [process.execPath, "-e", `process.on("message", () => {}); process.send(${JSON.stringify(message)})`]
  }
  for (const [name, command, message] of STRANGERS) {
    test(`because ${name}`, async () => {
      const { engine } = superviseFaulty({ command })
      const error = await engine.started.catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(EngineError)
      expect((error as Error).message).toContain(message)
      expect((await outcome(engine, request([1]))).error).toBe(error)
      expect(engine.health().state).toBe("failed")
      await engine.close()
    })
  }
})
