/** Overload, deadlines and shutdown: every request is answered, and every refusal has Retry-After. */

import { describe, expect, test } from "bun:test"
import { once } from "node:events"
import { createConnection } from "node:net"
import OpenAI from "openai"
import { OverloadedError } from "../../src/errors.ts"
import { clientOf, idle, post as postTo, serveTiny } from "../support/http.ts"
import { skipWaitsOf } from "../support/timers.ts"
import { until } from "../support/until.ts"
import { saying, serveScript } from "./support/script-model.ts"

const chat = { model: "script", messages: [{ role: "user" as const, content: "hi" }], max_tokens: 900 }
const post = (url: string, body: object, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  postTo(`${url}/v1/chat/completions`, body, { headers, signal })
const errorOf = async (response: Response) => ((await response.json()) as { error: Record<string, unknown> }).error
/** The JSON of the last `data:` line. */
const lastEvent = (text: string) => JSON.parse(text.trimEnd().split("\n\n").at(-1)?.replace("data: ", "") ?? "")

describe("a refusal has OpenAI's shape", () => {
  const cases: [code: OverloadedError["code"], status: number, type: string][] = [
    ["queue_full", 429, "rate_limit_error"],
    ["deadline", 503, "service_unavailable"],
    ["unavailable", 503, "service_unavailable"],
  ]
  test.each(cases)("%s is %i with Retry-After", async (code, status, type) => {
    const refusal = new OverloadedError("too much is asked for", code, 7)
    await using server = await serveScript({ tokens: [], refusal })
    for (const stream of [false, true]) {
      const response = await post(server.url, { ...chat, stream })
      expect(response.status).toBe(status)
      expect(response.headers.get("retry-after")).toBe("7")
      const error = await errorOf(response)
      expect(error).toMatchObject({ type, code, param: null })
      expect(error.message).toContain("Too much is asked for")
    }
  })

  test("the openai client throws its own error class, and retries after Retry-After", async () => {
    const seconds = 37
    const refusal = new OverloadedError("64 requests wait", "queue_full", seconds)
    await using server = await serveScript({ tokens: [], refusal })
    const refused = await server.client.chat.completions.create(chat).catch((thrown) => thrown)
    expect(refused).toBeInstanceOf(OpenAI.RateLimitError)
    expect(server.engine.requests.length).toBe(1)
    using skipped = skipWaitsOf(1000 * seconds)
    await clientOf(server.url, "none", 1)
      .chat.completions.create(chat)
      .catch(() => {})
    expect(server.engine.requests.length).toBe(3)
    expect(skipped.waits).toHaveLength(1)
  })
})

describe("scheduling parameters", () => {
  test("priority, cache salt, key and deadline are passed to the engine", async () => {
    await using server = await serveScript({ tokens: saying("x") }, { deadlineMs: 1500 })
    const sent = async (fields: object, headers: Record<string, string> = {}) => {
      expect((await post(server.url, { ...chat, ...fields }, headers)).status).toBe(200)
      const { priority, cacheSalt, key, deadlineMs } = server.engine.requests.at(-1) ?? { key: "" }
      return { priority, cacheSalt, key, deadlineMs }
    }
    expect(await sent({})).toEqual({ priority: undefined, cacheSalt: undefined, key: undefined, deadlineMs: 1500 })
    expect(await sent({ priority: -3, cache_salt: "tenant" })).toMatchObject({ priority: -3, cacheSalt: "tenant" })
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
    const { key } = await sent({}, bearer("sk-secret-1"))
    expect(key).toMatch(/^[0-9a-f]{32}$/)
    expect((await sent({}, { authorization: "bearer  sk-secret-1 " })).key).toBe(key)
    expect((await sent({}, bearer("sk-secret-2"))).key).not.toBe(key)
    expect((await sent({}, { authorization: "Basic c2s6" })).key).toBeUndefined()
  })

  test("cacheByKey salts the prefix cache by API key", async () => {
    await using server = await serveScript({ tokens: saying("x") }, { cacheByKey: true })
    const salt = async (token: string | undefined, cache_salt?: string) => {
      const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
      await post(server.url, { ...chat, cache_salt }, headers)
      return server.engine.requests.at(-1)?.cacheSalt
    }
    const salts = [
      await salt("a"),
      await salt("b"),
      await salt("a", "s"),
      await salt(undefined),
      await salt(undefined, "s"),
    ]
    expect(new Set(salts).size).toBe(5)
    expect(await salt("a")).toBe(salts[0])
    expect(salts.join()).not.toContain("undefined")
  })

  test.each([
    ["priority", "high"],
    ["priority", 1.5],
    ["cache_salt", 3],
    ["cache_salt", "x".repeat(300)],
  ])("%s is checked", async (param, value) => {
    await using server = await serveScript({ tokens: saying("x") })
    const response = await post(server.url, { ...chat, [param]: value })
    expect(response.status).toBe(400)
    expect((await errorOf(response)).param).toBe(param)
  })
})

const model = { context_length: 2048 }

describe("the real engine", () => {
  test("serves a full queue and refuses all other requests with Retry-After; none is lost", async () => {
    await using server = await serveTiny({ model, load: { maxSeqs: 2, maxQueue: 4, threads: 1 } })
    const n = 40
    const request = { ...chat, model: server.model.name, max_tokens: 100, ignore_eos: true }
    const answers = await Promise.all(
      Array.from({ length: n }, async (_, i) => {
        const response = await post(server.url, { ...request, stream: i % 2 === 1 })
        const text = await response.text()
        return { status: response.status, retry: Number(response.headers.get("retry-after")), text }
      }),
    )
    const served = answers.filter(({ status }) => status === 200)
    const refused = answers.filter(({ status }) => status === 429)
    expect(served.length + refused.length).toBe(n)
    expect(served.length).toBeGreaterThanOrEqual(4) // the queue's capacity, although no request had started to run yet
    expect(refused.length).toBeGreaterThan(0)
    for (const { text } of served) expect(text).toMatch(/\[DONE\]|"finish_reason":"length"/)
    for (const { retry, text } of refused) {
      expect(retry).toBeGreaterThanOrEqual(1)
      expect(JSON.parse(text)).toMatchObject({ error: { type: "rate_limit_error", code: "queue_full" } })
    }
    await until(() => idle(server.model.engine))
    expect((await post(server.url, { ...request, max_tokens: 2 })).status).toBe(200)
  })
})

test.each([true, false])(
  "a key finds the cached prompts of another key only without cacheByKey: %p",
  async (cacheByKey) => {
    await using server = await serveTiny({ model, load: { threads: 1 }, server: { cacheByKey } })
    const body = {
      ...chat,
      model: server.model.name,
      max_tokens: 1,
      messages: [{ role: "user", content: "a".repeat(200) }],
    }
    const cached = async (token: string) => {
      const response = await post(server.url, body, { authorization: `Bearer ${token}` })
      const { usage } = (await response.json()) as OpenAI.ChatCompletion
      return usage?.prompt_tokens_details?.cached_tokens ?? -1
    }
    expect(await cached("one")).toBe(0)
    expect(await cached("one")).toBeGreaterThan(100)
    const other = await cached("other")
    if (cacheByKey) expect(other).toBe(0)
    else expect(other).toBeGreaterThan(100)
  },
)

describe("a thousand connections", () => {
  /** Opens a connection that sends `text` on demand and collects the answer. */
  async function connect(port: number) {
    const socket = createConnection(port, "127.0.0.1")
    let answer = ""
    socket.on("data", (data) => {
      answer += data
    })
    const closed = once(socket, "close")
    await once(socket, "connect")
    const send = async (text: string): Promise<string> => {
      socket.write(text)
      await closed
      return answer
    }
    return send
  }

  test("at once against a queue of 64: all are answered, and every refusal has Retry-After", async () => {
    await using server = await serveTiny({ model, load: { maxSeqs: 8, maxQueue: 64, threads: 1 } })
    const body = JSON.stringify({ model: server.model.name, prompt: "x", max_tokens: 30, ignore_eos: true })
    const head = `POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`
    const { port } = new URL(server.url)
    const sends: Awaited<ReturnType<typeof connect>>[] = []
    for (let i = 0; i < 1000; i++) sends.push(await connect(Number(port)))
    const answers = await Promise.all(sends.map((send) => send(head + body)))
    const served = answers.filter((answer) => answer.startsWith("HTTP/1.1 200"))
    const refused = answers.filter((answer) => answer.startsWith("HTTP/1.1 429"))
    expect(served.length + refused.length).toBe(1000)
    expect(served.length).toBeGreaterThanOrEqual(64)
    expect(refused.length).toBeGreaterThan(0)
    for (const answer of served) expect(answer).toContain('"completion_tokens":30')
    for (const answer of refused) {
      expect(answer).toMatch(/^retry-after: [1-9]\d*\r$/im)
      expect(answer).toContain('"code":"queue_full"')
    }
    const { running, waiting } = server.model.engine.stats()
    expect([running, waiting]).toEqual([0, 0])
  })
})

describe("shutting down", () => {
  const DAY_MS = 24 * 3600 * 1000

  test("completes streams, and refuses new requests", async () => {
    // After one token, the engine waits until the server has refused another request; the drain timeout is never reached.
    const gate = Promise.withResolvers<void>()
    const before = (index: number) => (index === 1 ? gate.promise : undefined)
    await using server = await serveScript({ tokens: saying("a good end"), before })
    const response = await post(server.url, { ...chat, stream: true })
    const drained = server.server.drain(DAY_MS)
    const refused = await post(server.url, chat)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
    expect(await errorOf(refused)).toMatchObject({ type: "service_unavailable", code: "unavailable" })
    const health = await fetch(`${server.url}/health`)
    expect(health.status).toBe(503)
    expect(await health.json()).toMatchObject({ status: "draining" })
    gate.resolve()
    const text = await response.text()
    expect(text).toEndWith("data: [DONE]\n\n")
    expect(text.match(/"content":"."/g)?.length).toBe("a good end".length)
    await drained
    expect(server.engine.cancelled).toBe(0)
    await expect(fetch(`${server.url}/health`)).rejects.toThrow()
  })

  test("ends streams with an error after the drain timeout", async () => {
    await using server = await serveScript({ tokens: saying("on and on "), stepMs: 10 })
    const endless = { ...chat, ignore_eos: true }
    const plain = post(server.url, endless)
    const stream = await post(server.url, { ...endless, stream: true })
    await until(() => server.engine.running === 2)
    const { steps } = server.engine.stats()
    const [, answer, text] = await Promise.all([server.server.drain(200), plain, stream.text()])
    // The streams continued until the timeout.
    expect(server.engine.stats().steps).toBeGreaterThan(steps)
    expect(answer.status).toBe(503)
    expect(await errorOf(answer)).toMatchObject({ type: "service_unavailable", code: "unavailable" })
    expect(lastEvent(text)).toMatchObject({ error: { type: "service_unavailable", code: "unavailable" } })
    expect(text).toContain('"content":"o"')
    expect(text).not.toContain("[DONE]")
    expect(server.engine.cancelled).toBe(2)
    expect(server.engine.running).toBe(0)
  })

  test("finishes at once when nothing runs", async () => {
    await using server = await serveScript({ tokens: saying("x") })
    await (await post(server.url, chat)).text()
    await server.server.drain(DAY_MS) // does not wait that long
  })
})
