import { describe, expect, test } from "bun:test"
import OpenAI from "openai"
import { clientOf, post as postTo } from "../support/http.ts"
import { until } from "../support/until.ts"
import { saying, serveScript } from "./support/script-model.ts"

const messages = [{ role: "user" as const, content: "hi" }]
const request = { model: "script", messages, max_tokens: 500 }

const post = (url: string, body: object, signal?: AbortSignal) =>
  postTo(`${url}/v1/chat/completions`, body, { ...(signal && { signal }) })

/** The JSON of every `data:` line. */
const events = (text: string) =>
  text
    .split("\n\n")
    .filter((part) => part.startsWith("data: "))
    .map((part) => part.slice(6))

describe("a stream", () => {
  test("is an event stream with a role, text in whole characters, a finish reason, usage and [DONE]", async () => {
    await using server = await serveScript({ tokens: saying("Grüße, 東京") })
    const response = await post(server.url, { ...request, stream: true, stream_options: { include_usage: true } })
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8")
    expect(response.headers.get("cache-control")).toBe("no-cache")
    const lines = events(await response.text())
    expect(lines.pop()).toBe("[DONE]")
    const chunks: OpenAI.ChatCompletionChunk[] = lines.map((line) => JSON.parse(line))

    const choices = chunks.flatMap((chunk) => chunk.choices)
    expect(choices[0]?.delta).toEqual({ role: "assistant", content: "" })
    expect(choices.slice(1, -1).map((choice) => choice.delta.content)).toEqual([..."Grüße, 東京"])
    expect(choices.at(-1)).toMatchObject({ delta: {}, finish_reason: "stop" })
    expect(choices.slice(0, -1).every((choice) => choice.finish_reason === null)).toBe(true)

    const last = chunks.at(-1)
    expect(last?.choices).toEqual([])
    expect(last?.usage).toMatchObject({ prompt_tokens: 2, total_tokens: 2 + (last?.usage?.completion_tokens ?? 0) })
    expect(chunks.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true)
    expect(new Set(chunks.map((chunk) => chunk.id)).size).toBe(1)
  })

  test("has no usage without include_usage", async () => {
    await using server = await serveScript({ tokens: saying("hello") })
    const text = await (await post(server.url, { ...request, stream: true })).text()
    expect(text).not.toContain("usage")
  })

  test("is kept alive by comments while no tokens come, and clients ignore them", async () => {
    // Far more pings fall due between two tokens than one; tests/unit/server/http/stream.test.ts counts them.
    await using server = await serveScript({ tokens: saying("slow"), stepMs: 300 }, { pingMs: 5 })
    const response = await post(server.url, { ...request, stream: true })
    const text = await response.text()
    expect(text).toContain(": ping\n\n")
    expect(events(text).at(-1)).toBe("[DONE]")
    const stream = await clientOf(server.url).chat.completions.create({ ...request, stream: true })
    let answer = ""
    for await (const chunk of stream) answer += chunk.choices[0]?.delta.content ?? ""
    expect(answer).toBe("slow")
  })

  test("begins before a slow first token", async () => {
    await using server = await serveScript({ tokens: saying("x"), hang: true }, { pingMs: 100 })
    const controller = new AbortController()
    // The request never gets a token, so the head arrives only if the server does not wait for one.
    const response = await post(server.url, { ...request, stream: true }, controller.signal)
    expect(response.status).toBe(200)
    expect(server.engine.running).toBe(1)
    const first = await response.body?.getReader().read()
    expect(new TextDecoder().decode(first?.value)).toStartWith(": ping")
    controller.abort()
    await until(() => server.engine.running === 0)
  })

  test("that fails midway ends with an error event, which the client throws, and no [DONE]", async () => {
    await using server = await serveScript({ tokens: saying("hello"), stepMs: 5, failAfter: 3 })
    const text = await (await post(server.url, { ...request, stream: true })).text()
    const lines = events(text)
    expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({ error: { type: "server_error", code: "engine_error" } })
    expect(text).not.toContain("[DONE]")

    const stream = await clientOf(server.url).chat.completions.create({ ...request, stream: true })
    let answer = ""
    const read = async () => {
      for await (const chunk of stream) answer += chunk.choices[0]?.delta.content ?? ""
    }
    expect(await read().catch((thrown) => thrown)).toBeInstanceOf(OpenAI.APIError)
    expect(answer).toBe("hel")
    expect(server.engine.running).toBe(0)
  })

  test("of several choices carries each choice's text in order, under its index", async () => {
    await using server = await serveScript({ tokens: saying("abcdef"), stepMs: 2 })
    const stream = await clientOf(server.url).chat.completions.create({ ...request, n: 4, stream: true })
    const texts = ["", "", "", ""]
    const reasons: (string | null)[] = []
    for await (const { choices } of stream)
      for (const { index, delta, finish_reason } of choices) {
        texts[index] += delta.content ?? ""
        if (finish_reason !== null) reasons[index] = finish_reason
      }
    expect(texts).toEqual(["abcdef", "abcdef", "abcdef", "abcdef"])
    expect(reasons).toEqual(["stop", "stop", "stop", "stop"])
    // The choices share their prompt in one engine request.
    expect(server.engine.requests.map(({ n }) => n)).toEqual([4])
  })

  test("of several choices with a stop string ends each choice separately", async () => {
    await using server = await serveScript({ tokens: saying("abcdef"), stepMs: 2 })
    const { choices, usage } = await clientOf(server.url).chat.completions.create({
      ...request,
      n: 3,
      seed: 2 ** 50,
      stop: "de",
    })
    expect(choices.map(({ index, message }) => [index, message.content])).toEqual([
      [0, "abc"],
      [1, "abc"],
      [2, "abc"],
    ])
    expect(usage).toMatchObject({ prompt_tokens: 2, completion_tokens: 15 })
    expect(server.engine.requests.map(({ n, sampling }) => [n, sampling.seed])).toEqual([[3, 2n ** 50n]])
    expect(server.engine.cancelled).toBe(3)
  })
})

test("a stream may be silent for longer than the idle timeout", async () => {
  // This runs in real time, because Bun itself measures the idle timeout, inexactly and in whole seconds.
  await using server = await serveScript({ tokens: saying("x"), stepMs: 5500 }, { idleTimeout: 1, pingMs: 60_000 })
  const response = await post(server.url, { ...request, max_tokens: 1, stream: true })
  expect(events(await response.text()).at(-1)).toBe("[DONE]")
})

describe("a client that disconnects", () => {
  test.each([1, 3])("stops its stream's %i choices at once", async (n) => {
    await using server = await serveScript({ tokens: saying("on and on "), stepMs: 5 })
    const stream = await clientOf(server.url).chat.completions.create({
      ...request,
      n,
      ignore_eos: true,
      stream: true,
    } as OpenAI.ChatCompletionCreateParamsStreaming)
    let seen = 0
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++seen === 5) break
    await until(() => server.engine.running === 0)
    // With `ignore_eos` the choices would otherwise run to `max_tokens`.
    expect(server.engine.cancelled).toBe(n)
  })

  test("stops a plain request", async () => {
    await using server = await serveScript({ tokens: saying("x"), hang: true })
    const controller = new AbortController()
    const answer = post(server.url, request, controller.signal).catch((thrown) => thrown)
    await until(() => server.engine.running === 1)
    controller.abort()
    await answer
    await until(() => server.engine.running === 0)
    expect(server.engine.cancelled).toBe(1)
  })

  test("stops a stream during prefill", async () => {
    await using server = await serveScript({ tokens: saying("x"), hang: true })
    const controller = new AbortController()
    const answer = post(server.url, { ...request, stream: true }, controller.signal).catch((thrown) => thrown)
    await until(() => server.engine.running === 1)
    controller.abort()
    await answer
    await until(() => server.engine.running === 0)
    expect(server.engine.cancelled).toBe(1)
  })
})

test("stopping the server cancels running requests", async () => {
  const server = await serveScript({ tokens: saying("x"), hang: true })
  const answer = post(server.url, request).catch((thrown) => thrown)
  await until(() => server.engine.running === 1)
  await server[Symbol.asyncDispose]()
  await answer
  await until(() => server.engine.running === 0)
  expect(server.engine.cancelled).toBe(1)
})

test("a port in use gives an error that names it", async () => {
  await using server = await serveScript({ tokens: saying("x") })
  const port = Number(new URL(server.url).port)
  await expect(serveScript({ tokens: saying("x") }, { port })).rejects.toThrow(`127.0.0.1:${port}`)
})

test("two models with the same name are refused", async () => {
  const { createServer } = await import("../../src/server/index.ts")
  await using server = await serveScript({ tokens: saying("x") })
  expect(() => createServer({ models: [server.model, server.model] })).toThrow("named 'script'")
})
