/** Observability of a server: metrics, request ids, logs and traces. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { createConnection } from "node:net"
import { createLog, openTracing } from "../../src/server/index.ts"
import type { LogFormat } from "../../src/server/observe/log.ts"
import { serveTiny, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const SECRET = "whatnobodymayread"
const json = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(body),
})
const chat = (changes = {}) => ({
  model: "script",
  messages: [{ role: "user", content: SECRET }],
  max_tokens: 3,
  ...changes,
})

describe("metrics of a real engine", () => {
  let server: TestServer
  beforeAll(async () => {
    server = await serveTiny({ model: { context_length: 8192 } })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  async function read(): Promise<(series: string, labels?: string) => number> {
    const response = await fetch(`${server.url}/metrics`)
    expect(response.headers.get("content-type")).toStartWith("text/plain; version=0.0.4")
    const text = await response.text()
    return (series, labels = "") => {
      const own = text.split("\n").filter((line) => line.startsWith(`${series}{model_name="tiny"${labels}}`))
      expect(own).toHaveLength(1)
      return Number(own[0]?.split(" ").at(-1))
    }
  }

  test("count tokens, choices and prefix cache hits", async () => {
    const prompt = Array.from({ length: 40 }, (_, i) => i + 5)
    for (const n of [1, 2]) {
      const body = { model: "tiny", prompt, max_tokens: 6, ignore_eos: true, n }
      expect((await fetch(`${server.url}/v1/completions`, json(body))).status).toBe(200)
    }
    const value = await read()
    expect(value("vllm:request_success_total", ',finished_reason="length"')).toBe(3)
    expect(value("vllm:generation_tokens_total")).toBe(18)
    expect(value("vllm:prompt_tokens_total")).toBe(80)
    expect(value("vllm:prefix_cache_queries_total")).toBe(80)
    expect(value("vllm:prefix_cache_hits_total")).toBe(32) // two full blocks of the second request
    expect(value("vllm:gpu_prefix_cache_hits_total")).toBe(32)
    expect(value("vllm:time_to_first_token_seconds_count")).toBe(3)
    expect(value("vllm:e2e_request_latency_seconds_count")).toBe(3)
    expect(value("vllm:inter_token_latency_seconds_count")).toBeGreaterThan(0)
    expect(value("rocmforge_engine_steps_total")).toBe(server.model.engine.stats().steps)
    expect(value("vllm:num_requests_running")).toBe(0)
    expect(value("vllm:kv_cache_usage_perc")).toBe(0)
  })

  test("show running requests", async () => {
    const stop = new AbortController()
    const body = { model: "tiny", prompt: [7], max_tokens: 8000, ignore_eos: true, stream: true }
    const response = await fetch(`${server.url}/v1/completions`, { ...json(body), signal: stop.signal })
    await response.body?.getReader().read()
    const value = await read()
    expect(value("vllm:num_requests_running")).toBe(1)
    expect(value("vllm:kv_cache_usage_perc")).toBeGreaterThan(0)
    stop.abort()
    await until(() => server.model.engine.stats().running === 0)
    expect((await read())("vllm:request_success_total", ',finished_reason="abort"')).toBe(1)
  })
})

test("a request's id is returned and used for the engine's request; an invalid id is replaced", async () => {
  await using server = await serveScript({ tokens: saying("hello") })
  const ask = (id: string) => fetch(`${server.url}/v1/chat/completions`, json(chat(), { "x-request-id": id }))
  expect((await ask("mine-1")).headers.get("x-request-id")).toBe("mine-1")
  expect(server.engine.requests[0]?.id).toStartWith("mine-1/")
  for (const bad of ["two words", "x".repeat(129), "<script>"]) {
    const given = (await ask(bad)).headers.get("x-request-id")
    expect(given).toMatch(/^req_[0-9a-f]{32}$/)
    expect(server.engine.requests.at(-1)?.id).toStartWith(`${given}/`)
  }
  const unknown = await fetch(`${server.url}/nowhere`, { headers: { "x-request-id": "mine-2" } })
  expect([unknown.status, unknown.headers.get("x-request-id")]).toEqual([404, "mine-2"])
})

describe("logs", () => {
  async function logged(format: LogFormat, use: (server: ScriptedServer) => Promise<unknown>): Promise<string[]> {
    const lines: string[] = []
    const log = createLog({ format, level: "info", write: (line) => lines.push(line) })
    await using server = await serveScript(
      { tokens: saying("hello") },
      { log, apiKeys: [{ name: "ada", key: "sk-1" }] },
    )
    await use(server)
    await until(() => lines.length > 0)
    expect(lines.join("")).not.toMatch(new RegExp(`${SECRET}|sk-1|hello`))
    for (const line of lines) expect(line).toEndWith("\n")
    return lines
  }
  const key = { authorization: "Bearer sk-1", "x-request-id": "mine-1" }

  test.each([false, true])("one JSON object for a request, streamed: %p", async (stream) => {
    const lines = await logged("json", async ({ url, engine }) => {
      await (await fetch(`${url}/v1/chat/completions`, json(chat({ stream }), key))).text()
      // Polled endpoints are not logged, whether healthy or not.
      expect((await fetch(`${url}/health`)).status).toBe(200)
      engine.state = { state: "failed", reason: "the device was lost" }
      expect((await fetch(`${url}/health`)).status).toBe(503)
    })
    expect(lines).toHaveLength(1)
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      level: "info",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      msg: "request",
      method: "POST",
      path: "/v1/chat/completions",
      status: 200,
      ms: expect.any(Number),
      model: "script",
      prompt_tokens: SECRET.length,
      tokens: 3,
      ttft_ms: expect.any(Number),
      key: "ada",
      request_id: "mine-1",
    })
  })

  test("one text line per request, also for refused keys", async () => {
    const lines = await logged("text", async ({ url }) => {
      await (await fetch(`${url}/v1/chat/completions`, json(chat(), key))).text()
      await fetch(`${url}/v1/models`, { headers: { authorization: "Bearer wrong" } })
    })
    expect(lines[0]).toMatch(
      /^\S+ INFO {2}request method=POST path=\/v1\/chat\/completions status=200 ms=\S+ model=script/,
    )
    expect(lines[1]).toMatch(/^\S+ INFO {2}request method=GET path=\/v1\/models status=401 ms=\S+ request_id=req_/)
  })

  test.each(["content-length: 900", "transfer-encoding: chunked"])(
    "a client that disconnects in the middle of its body (%s) is not logged as a server error",
    async (framing) => {
      const lines = await logged("json", async ({ url }) => {
        const socket = createConnection(Number(new URL(url).port), "127.0.0.1")
        const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-1\r\ncontent-type: application/json\r\n`
        // The written bytes reach the server before the end of the connection.
        await new Promise((resolve) => socket.write(`${head}${framing}\r\n\r\n5\r\n{"a":\r\n`, resolve))
        socket.destroy()
      })
      expect(lines).toHaveLength(1)
      expect(JSON.parse(lines[0] ?? "")).toMatchObject({ level: "info", status: 400 })
    },
  )
})

test("traces are sent to an OTLP receiver, under the caller's trace and with the first token's time", async () => {
  const bodies: string[] = []
  const receiver = Bun.serve({
    port: 0,
    fetch: async (request) => {
      expect(new URL(request.url).pathname).toBe("/v1/traces")
      bodies.push(await request.text())
      return Response.json({})
    },
  })
  const before = process.env.OTEL_EXPORTER_OTLP_ENDPOINT
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = receiver.url.origin
  try {
    const tracing = await openTracing()
    await using server = await serveScript({ tokens: saying("hello") }, { tracing })
    const trace = "0af7651916cd43dd8448eb211c80319c"
    const traceparent = `00-${trace}-b7ad6b7169203331-01`
    await (await fetch(`${server.url}/v1/chat/completions`, json(chat(), { traceparent }))).text()
    await tracing.close()
    const spans = bodies.flatMap((body) => JSON.parse(body).resourceSpans[0].scopeSpans[0].spans)
    expect(spans).toHaveLength(1)
    expect(spans[0]).toMatchObject({
      name: "POST /v1/chat/completions",
      traceId: trace,
      parentSpanId: "b7ad6b7169203331",
      events: [{ name: "gen_ai.first_token" }],
      attributes: expect.arrayContaining([
        { key: "http.response.status_code", value: { intValue: 200 } },
        { key: "gen_ai.usage.output_tokens", value: { intValue: 3 } },
      ]),
    })
    expect(bodies.join("")).not.toContain(SECRET)
  } finally {
    if (before === undefined) delete process.env.OTEL_EXPORTER_OTLP_ENDPOINT
    else process.env.OTEL_EXPORTER_OTLP_ENDPOINT = before
    receiver.stop(true)
  }
})
