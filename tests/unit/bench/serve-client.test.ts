/** The client of `tests/bench/serve.ts` against the HTTP server over a scripted engine. */

import { expect, test } from "bun:test"
import { OverloadedError } from "../../../src/errors.ts"
import { complete, sseData, type Target } from "../../bench/serve/client.ts"
import { flood } from "../../bench/serve/flood.ts"
import { closedLoop, openLoop } from "../../bench/serve/load.ts"
import { summarize } from "../../bench/serve/measure.ts"
import { residentMemory } from "../../bench/serve/server.ts"
import type { Script, ScriptEngine } from "../../server/support/script-engine.ts"
import { saying, serveScript } from "../../server/support/script-model.ts"
import { until } from "../../support/until.ts"

const STEP_MS = 5

async function serving(script: Script, body: (target: Target, engine: ScriptEngine) => Promise<void>): Promise<void> {
  await using server = await serveScript(script)
  const url = server.url.replace(/\/$/, "")
  await body({ url, model: "script", n_vocab: 200, extra: {}, retries: 0 }, server.engine)
}

const PROMPT = { prompt: [65, 66, 67], max_tokens: 12 }
const TALK: Script = { tokens: saying("sky"), stepMs: STEP_MS }

test("every token of a full-length answer is timed", () =>
  serving(TALK, async (target) => {
    const record = await complete(target, PROMPT)
    expect(record).toMatchObject({ outcome: "served", status: 200, tokens: 12, retries: 0 })
    expect(record.text).toStartWith("skysky") // the end token among them does not end it
    expect(record.pieces.length).toBeGreaterThanOrEqual(9)
    expect(record.end - record.due).toBeGreaterThanOrEqual(12 * STEP_MS * 0.9)
    expect(record.pieces.toSorted((a, b) => a - b)).toEqual(record.pieces)
  }))

test("the time before a request is sent counts", () =>
  serving(TALK, async (target) => {
    const record = await complete(target, { ...PROMPT, due: performance.now() - 1000 })
    expect(summarize([record]).ttft_ms.p50).toBeGreaterThan(1000)
  }))

test("a closed loop keeps the given number of streams busy, and sends every request once", () =>
  serving(TALK, async (target, engine) => {
    const records = await closedLoop(target, { prompt: 4, generate: 5, seed: 1 }, 3, 10)
    expect(engine.peak).toBe(3)
    expect(summarize(records)).toMatchObject({ requests: 10, served: 10, lost: 0, tokens: 50 })
    expect(engine.requests).toHaveLength(10)
    expect(new Set(engine.requests.map(({ tokens }) => tokens.join())).size).toBe(10)
  }))

test("an open loop does not wait for answers", () => {
  const gate = Promise.withResolvers<void>()
  return serving({ tokens: saying("sky"), before: () => gate.promise }, async (target, engine) => {
    const running = openLoop(target, { prompt: 4, generate: 2, seed: 1 }, 200, 12)
    await until(() => engine.running === 12)
    gate.resolve()
    expect(summarize(await running)).toMatchObject({ requests: 12, served: 12 })
  })
})

const FULL = new OverloadedError("the queue is full", "queue_full", 1)

test("a refused request is neither served nor lost; with retries it is sent again after the given time", () =>
  serving({ ...TALK, refusal: FULL }, async (target, engine) => {
    const record = await complete(target, PROMPT)
    expect(record).toMatchObject({ outcome: "refused", status: 429, tokens: 0, retries: 0 })
    const again = await complete({ ...target, retries: 1 }, PROMPT)
    expect(again).toMatchObject({ outcome: "refused", retries: 1 })
    expect(again.end - again.due).toBeGreaterThanOrEqual(1000)
    expect(engine.requests).toHaveLength(3)
  }))

test("an incomplete answer is lost, with the reason", () =>
  serving({ ...TALK, failAfter: 4 }, async (target) => {
    const record = await complete(target, PROMPT)
    expect(record.outcome).toBe("lost")
    expect(record.reason).toContain("error event")
    expect(record.pieces.length).toBeGreaterThan(0)
  }))

test("no server, a wrong path and a refused field are lost", () =>
  serving(TALK, async (target) => {
    expect(await complete({ ...target, url: "http://127.0.0.1:9" }, PROMPT)).toMatchObject({
      outcome: "lost",
      status: 0,
    })
    expect(await complete({ ...target, url: `${target.url}/nowhere` }, PROMPT)).toMatchObject({ status: 404 })
    const record = await complete({ ...target, extra: { suffix: 1 } }, PROMPT)
    expect(record).toMatchObject({ outcome: "lost", status: 400 })
    expect(record.reason).toContain("suffix")
  }))

test("a flood in which every request is refused fails", () =>
  serving({ ...TALK, refusal: FULL }, async (target) => {
    const options = { connections: 20, bound: 4, prompt: 4, generate: 4, minutes: 0 }
    const report = await flood(target, options, process.pid)
    expect(report).toMatchObject({ requests: 20, served: 0, refused: 20, lost: 0, passed: false })
    expect(report.memory.length).toBeGreaterThanOrEqual(2)
  }))

test("a flood in which every request is served, with enough room, passes", () =>
  serving(TALK, async (target) => {
    const options = { connections: 6, bound: 4, prompt: 4, generate: 4, minutes: 0 }
    const report = await flood(target, options, undefined)
    expect(report).toMatchObject({ requests: 6, served: 6, refused: 0, lost: 0, memory: [], passed: true })
    expect(report.peak_streams).toBe(6)
  }))

test("events are parsed however the bytes are split", async () => {
  const bytes = new TextEncoder().encode(': ping\n\ndata: {"a":"ü"}\r\n\r\ndata:[DONE]\n\n')
  for (let cut = 0; cut <= bytes.length; cut++) {
    const body = async function* () {
      yield bytes.subarray(0, cut)
      yield bytes.subarray(cut)
    }
    expect(await Array.fromAsync(sseData(body()))).toEqual(['{"a":"ü"}', "[DONE]"])
  }
})

test("memory includes a process and its children", async () => {
  const alone = residentMemory(process.pid)
  const child = Bun.spawn(
    [
      process.execPath,
      "-e",
      "const kept = new Uint8Array(256e6).fill(1); setInterval(() => kept.at(-1), 1000); console.log('up')",
    ],
    {
      stdout: "pipe",
    },
  )
  try {
    await child.stdout.getReader().read()
    const both = residentMemory(process.pid)
    expect(both.processes).toBe(alone.processes + 1)
    // This process may free memory meanwhile, but not half as much as the child keeps.
    expect(both.anonymous - alone.anonymous).toBeGreaterThan(128e6)
    expect(residentMemory(child.pid).processes).toBe(1)
  } finally {
    child.kill()
    await child.exited
  }
})
