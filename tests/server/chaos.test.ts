/** HTTP requests while the engine process is killed repeatedly, and while clients disconnect. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { type SupervisedModel, superviseModel } from "../../src/engine/process/index.ts"
import { openFiles } from "../e2e/support/supervised.ts"
import { endings, idle, post as postTo, serveModel, type TestServer } from "../support/http.ts"
import { type TinyModelFile, withTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"

const MAX_TOKENS = 300
let file: TinyModelFile
let model: SupervisedModel
let server: TestServer
const reports: string[] = []

beforeAll(async () => {
  file = await withTinyModel({ context_length: 4096 })
  model = await superviseModel(file.path, {
    device: "cpu",
    threads: 1,
    maxSeqs: 8,
    backOff: { firstMs: 20, maxMs: 20, healthyMs: 0 },
    onReport: (line) => reports.push(line),
  })
  server = await serveModel(model)
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await file[Symbol.asyncDispose]()
})

const post = (prompt: string, max_tokens: number, signal?: AbortSignal): Promise<Response> => {
  const body = { model: model.name, prompt, max_tokens, temperature: 0, ignore_eos: true, stream: true }
  return postTo(`${server.url}/v1/completions`, body, { headers: { connection: "close" }, signal })
}

interface Stream {
  text: string
  /** Every end that the stream reported: a finish reason, or an error code. */
  ends: string[]
  done: boolean
}

/** Reads a stream of server-sent events to its end, as a client would. */
async function read(response: Response, onChunk: () => void = () => {}): Promise<Stream> {
  const stream: Stream = { text: "", ends: [], done: false }
  if (response.status !== 200) {
    const { error } = (await response.json()) as { error: { code: string } }
    return { ...stream, ends: [`${response.status} ${error.code}`] }
  }
  let rest = ""
  const decoder = new TextDecoder()
  for await (const bytes of response.body ?? []) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n")
    rest = lines.pop() ?? ""
    for (const line of lines.filter((line) => line.startsWith("data: "))) {
      onChunk()
      const data = line.slice("data: ".length)
      if (data === "[DONE]") {
        stream.done = true
        continue
      }
      const { choices = [], error } = JSON.parse(data) as {
        choices?: { text: string; finish_reason: string | null }[]
        error?: { code: string }
      }
      if (error) stream.ends.push(error.code)
      for (const { text, finish_reason } of choices) {
        stream.text += text
        if (finish_reason !== null) stream.ends.push(finish_reason)
      }
    }
  }
  return stream
}

test("kill -9 during 16 streams, 20 times", async () => {
  const prompts = Array.from({ length: 16 }, (_, i) => `Story ${i}:`)
  const expected = await Promise.all(prompts.map(async (prompt) => read(await post(prompt, MAX_TOKENS))))
  for (const { ends, done } of expected) expect({ ends, done }).toEqual({ ends: ["length"], done: true })

  // Polls /health throughout; a missing answer fails the test.
  const health: { status: number; state: string; reason: string | null }[] = []
  let asking = true
  const asker = (async () => {
    while (asking) {
      const response = await fetch(`${server.url}/health`, { headers: { connection: "close" } })
      const { status: state, reason } = (await response.json()) as { status: string; reason: string | null }
      health.push({ status: response.status, state, reason })
      await Bun.sleep(5)
    }
  })()

  const outcomes = { full: 0, error: 0, refused: 0 }
  const round = async (killAfter: number) => {
    let chunks = 0
    const streams = await Promise.all(
      prompts.map(async (prompt) =>
        read(await post(prompt, MAX_TOKENS), () => {
          if (++chunks === killAfter) process.kill(model.engine.pid ?? 0, "SIGKILL")
        }),
      ),
    )
    expect(chunks).toBeGreaterThanOrEqual(killAfter)
    for (const [i, { text, ends, done }] of streams.entries()) {
      expect(ends).toHaveLength(1) // every request ends exactly once
      expect(expected[i]?.text.startsWith(text)).toBe(true)
      expect(done).toBe(ends[0] === "length")
      if (ends[0] === "length") {
        expect(text).toBe(expected[i]?.text ?? "")
        outcomes.full++
      } else {
        expect(["engine_error", "503 engine_error"]).toContain(ends[0] ?? "")
        outcomes[text === "" ? "refused" : "error"]++
      }
    }
  }
  await round(1)
  Bun.gc(true)
  const start = { files: openFiles(), rss: process.memoryUsage.rss() }
  for (let i = 1; i < 20; i++) await round(30 * i)
  asking = false
  await asker

  expect(outcomes.full + outcomes.error + outcomes.refused).toBe(16 * 20)
  expect(outcomes.full).toBeGreaterThan(20)
  expect(outcomes.error).toBeGreaterThan(20)
  expect(reports.filter((line) => line.includes("SIGKILL"))).toHaveLength(20)

  const down = health.filter(({ status }) => status === 503)
  expect(down.length).toBeGreaterThanOrEqual(20)
  for (const { state, reason } of down) {
    expect(state).toBe("restarting")
    expect(reason).toContain("was killed (SIGKILL")
  }
  for (const { state, status } of health) expect(status).toBe(state === "ok" ? 200 : 503)

  await until(() => model.engine.health().state === "ready" && idle(model.engine))
  expect((await fetch(`${server.url}/health`, { headers: { connection: "close" } })).status).toBe(200)
  await until(() => openFiles() <= start.files)
  Bun.gc(true)
  expect(process.memoryUsage.rss() - start.rss).toBeLessThan(64 * 2 ** 20)
})

test("blocks are freed when clients disconnect", async () => {
  await until(() => idle(model.engine))
  const before = await endings(server.url)
  const { steps } = model.engine.stats()
  const controllers = Array.from({ length: 4 }, () => new AbortController())
  const streams = controllers.map(async ({ signal }, i) => read(await post(`Novel ${i}:`, 4000, signal)))
  await until(() => model.engine.stats().running === 4)
  await until(() => model.engine.stats().steps > steps + 20)
  for (const controller of controllers) controller.abort()
  await Promise.allSettled(streams)
  await until(() => idle(model.engine))
  expect(await endings(server.url)).toEqual({ ...before, abort: before.abort + 4 }) // none reached max_tokens
})
