/** `/v1/messages` with Anthropic's client. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import Anthropic from "@anthropic-ai/sdk"
import { OverloadedError } from "../../src/errors.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { post as postTo, serveFile, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"
import { anthropicOf } from "./support/clients.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const request = { model: "script", max_tokens: 500, messages: [{ role: "user" as const, content: "hi" }] }

const post = (url: string, body: object, path = "/v1/messages") =>
  postTo(url + path, body, { headers: { "x-api-key": "none", "anthropic-version": "2023-06-01" } })

/** The stream's events. Checks that each event's SSE name is its type. */
const events = (text: string) =>
  text
    .split("\n\n")
    .filter((part) => part !== "")
    .map((part) => {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/s.exec(part) ?? []
      const event = JSON.parse(data ?? "null")
      expect(event.type).toBe(name)
      return event
    })

describe("a message", () => {
  test("has text, a stop reason and usage", async () => {
    await using server = await serveScript({ tokens: saying("Grüße, 東京") })
    const message = await anthropicOf(server.url).messages.create(request)
    expect(message).toMatchObject({
      type: "message",
      role: "assistant",
      model: "script",
      content: [{ type: "text", text: "Grüße, 東京", citations: [] }],
      stop_reason: "end_turn",
      stop_sequence: null,
      usage: { input_tokens: 2, output_tokens: saying("Grüße, 東京").length, cache_read_input_tokens: 0 },
    })
    expect(message.id).toStartWith("msg-")
  })

  test("passes sampling parameters, limits and the system prompt to the engine", async () => {
    await using server = await serveScript({ tokens: saying("ok") })
    await post(server.url, {
      ...request,
      max_tokens: 7,
      temperature: 0.25,
      top_p: 0.5,
      top_k: 9,
      system: [
        { type: "text", text: "Be ", cache_control: { type: "ephemeral", ttl: "1h" } },
        { type: "text", text: "brief. ", citations: null },
      ],
      messages: [
        { role: "user", content: "one " },
        { role: "assistant", content: [{ type: "text", text: "two " }] },
        { role: "user", content: [{ type: "text", text: "three" }] },
      ],
      metadata: { user_id: "someone" },
      service_tier: "auto",
    })
    const [made] = server.engine.requests
    expect(made?.maxTokens).toBe(7)
    expect(made?.sampling).toMatchObject({ temperature: 0.25, topP: 0.5, topK: 9 })
    expect(server.model.tokenizer.decode(made?.tokens ?? new Int32Array())).toBe("Be brief. one two three")
  })

  test.each([
    [{ max_tokens: 3 }, "abc", "max_tokens", null],
    [{ max_tokens: 8 }, "abcdefgh", "max_tokens", null],
    [{ max_tokens: 9 }, "abcdefgh", "end_turn", null],
    [{ stop_sequences: ["zz", "de"] }, "abc", "stop_sequence", "de"],
  ])("with %j is %s and ends for %s", async (fields, text, stop_reason, stop_sequence) => {
    await using server = await serveScript({ tokens: saying("abcdefgh") })
    const client = anthropicOf(server.url)
    const message = await client.messages.create({ ...request, ...fields })
    expect(message).toMatchObject({ stop_reason, stop_sequence, content: [{ type: "text", text }] })
    const streamed = await client.messages.stream({ ...request, ...fields }).finalMessage()
    expect(streamed).toMatchObject({ stop_reason, stop_sequence, content: [{ type: "text", text }] })
  })

  test("without generated text has no content", async () => {
    await using server = await serveScript({ tokens: saying("") })
    const message = await anthropicOf(server.url).messages.create(request)
    expect(message).toMatchObject({ content: [], stop_reason: "end_turn", usage: { output_tokens: 1 } })
  })
})

describe("a stream", () => {
  test("has the complete sequence of named events", async () => {
    await using server = await serveScript({ tokens: saying("Grüß") })
    const response = await post(server.url, { ...request, stream: true })
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8")
    const [start, ping, ...rest] = events(await response.text())
    expect(start.message).toMatchObject({
      type: "message",
      role: "assistant",
      content: [],
      stop_reason: null,
      usage: { input_tokens: 2, output_tokens: 0 },
    })
    expect(ping).toEqual({ type: "ping" })
    const delta = (text: string) => ({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })
    expect(rest).toEqual([
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "", citations: [] } },
      ...[..."Grüß"].map(delta),
      { type: "content_block_stop", index: 0 },
      {
        type: "message_delta",
        delta: { stop_reason: "end_turn", stop_sequence: null, stop_details: null, container: null },
        usage: {
          input_tokens: 2,
          output_tokens: 7,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: 0,
          output_tokens_details: null,
          server_tool_use: null,
        },
      },
      { type: "message_stop" },
    ])
  })

  test("is kept alive by pings, which the client ignores", async () => {
    // After one token, the engine waits until some pings have been read.
    const gate = Promise.withResolvers<void>()
    const before = (index: number) => (index === 1 ? gate.promise : undefined)
    await using server = await serveScript({ tokens: saying("slow"), before }, { pingMs: 5 })
    const response = await post(server.url, { ...request, stream: true })
    let text = ""
    for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece
      if (text.split("event: ping\n").length > 8) gate.resolve()
    }
    expect(events(text).filter(({ type }) => type === "ping").length).toBeGreaterThanOrEqual(8)
    expect(events(text).at(-1).type).toBe("message_stop")
    const message = await anthropicOf(server.url).messages.stream(request).finalMessage()
    expect(message.content).toMatchObject([{ text: "slow" }])
  })

  test("that fails midway ends with an error, which the client throws", async () => {
    await using server = await serveScript({ tokens: saying("hello"), stepMs: 5, failAfter: 3 })
    const list = events(await (await post(server.url, { ...request, stream: true })).text())
    expect(list.at(-1)).toEqual({
      type: "error",
      error: { type: "api_error", message: "The engine failed: the device was lost" },
      request_id: expect.stringMatching(/^req_/),
    })
    const stream = anthropicOf(server.url).messages.stream(request)
    let text = ""
    stream.on("text", (delta) => {
      text += delta
    })
    const error = await stream.finalMessage().catch((thrown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.APIError)
    expect(error.type).toBe("api_error")
    expect(text).toBe("hel")
  })

  test("stops at once when its client disconnects", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const stream = await anthropicOf(server.url).messages.create({ ...request, stream: true })
    let seen = 0
    for await (const event of stream) if (event.type === "content_block_delta" && ++seen === 5) break
    await until(() => server.engine.running === 0)
    expect(server.engine.cancelled).toBe(1)
  })
})

test("a plain request stops when its client disconnects", async () => {
  await using server = await serveScript({ tokens: saying("x"), hang: true })
  const controller = new AbortController()
  const answer = anthropicOf(server.url)
    .messages.create(request, { signal: controller.signal })
    .catch((thrown) => thrown)
  await until(() => server.engine.running === 1)
  controller.abort()
  expect(await answer).toBeInstanceOf(Anthropic.APIUserAbortError)
  await until(() => server.engine.running === 0)
  expect(server.engine.cancelled).toBe(1)
})

describe("a model that thinks", () => {
  const template = new ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content.split('</think>')[-1] }};{% endfor %}" +
      "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}",
  )
  const thinker = () =>
    serveScript({ tokens: saying("<think>Two and two.</think>It is 4.") }, {}, {}, { chatTemplate: template })
  const blocks = [
    { type: "thinking", thinking: "Two and two.", signature: "" },
    { type: "text", text: "It is 4.", citations: [] },
  ]

  test("returns a thinking block, plain and streamed, and accepts it in the next request", async () => {
    await using server = await thinker()
    const client = anthropicOf(server.url)
    const message = await client.messages.create({ ...request, thinking: { type: "adaptive" } })
    expect(message.content as unknown[]).toEqual(blocks)
    expect(message.usage.output_tokens_details).toEqual({ thinking_tokens: "Two and two.</think>".length })
    const list = events(await (await post(server.url, { ...request, stream: true })).text())
    expect(list.filter(({ type }) => /block_st/.test(type)).map(({ type, index }) => [type, index])).toEqual([
      ["content_block_start", 0],
      ["content_block_stop", 0],
      ["content_block_start", 1],
      ["content_block_stop", 1],
    ])
    const streamed = await client.messages.stream(request).finalMessage()
    expect(streamed.content as unknown[]).toEqual(blocks)
    const { role, content } = streamed
    await client.messages.create({
      ...request,
      messages: [...request.messages, { role, content }, { role: "user", content: "Sure?" }],
    })
    expect(server.model.tokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [])).toBe(
      "<user>hi;<assistant>(Two and two.)It is 4.;<user>Sure?;<assistant>",
    )
  })

  test("can be switched to answer without thinking", async () => {
    await using server = await thinker()
    await anthropicOf(server.url).messages.create({ ...request, thinking: { type: "disabled" } })
    const prompt = server.model.tokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [])
    expect(prompt).toEndWith("<assistant><think></think>")
    const always = new ChatTemplate("{{ messages[0].content.split('</think>')[-1] }}<think>")
    await using other = await serveScript({ tokens: saying("x") }, {}, {}, { chatTemplate: always })
    for (const fields of [{ thinking: { type: "disabled" } }, { output_config: { effort: "max" } }])
      expect((await post(other.url, { ...request, ...fields })).status).toBe(200)
  })
})

test("continues a final assistant message", async () => {
  const chatTemplate = new ChatTemplate(
    "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
  )
  await using server = await serveScript({ tokens: saying(" 4.") }, {}, {}, { chatTemplate })
  const begun = [...request.messages, { role: "assistant" as const, content: "The answer is" }]
  const client = anthropicOf(server.url)
  const message = await client.messages.create({ ...request, messages: begun })
  expect(message.content).toMatchObject([{ text: " 4." }])
  const prompt = "<user>hi;<assistant>The answer is"
  expect(server.model.tokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [])).toBe(prompt)
  const counted = await client.messages.countTokens({ model: "script", messages: begun })
  expect(counted.input_tokens).toBe(prompt.length)
})

test("count_tokens counts the tokens of the message's prompt, and generates nothing", async () => {
  await using server = await serveScript({ tokens: saying("ok") })
  const client = anthropicOf(server.url)
  const prompt = { model: "script", system: "Be brief. ", messages: request.messages }
  expect(await client.messages.countTokens(prompt)).toEqual({ input_tokens: "Be brief. hi".length })
  expect(server.engine.requests).toEqual([])
  const { usage } = await client.messages.create({ ...prompt, max_tokens: 5 })
  expect(usage.input_tokens).toBe("Be brief. hi".length)
  const error = await client.messages.countTokens({ ...prompt, model: "claude" }).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(Anthropic.NotFoundError)
})

test("x-api-key authenticates, and a 401 error has Anthropic's shape", async () => {
  const apiKeys = [{ name: "one", key: "correct-horse" }]
  await using server = await serveScript({ tokens: saying("ok") }, { apiKeys })
  const refused = await post(server.url, request)
  expect([refused.status, (await refused.json()).error.type]).toEqual([401, "authentication_error"])
  const client = new Anthropic({ baseURL: server.url, apiKey: "correct-horse", maxRetries: 0 })
  expect((await client.messages.create(request)).content).toMatchObject([{ text: "ok" }])
  const headers = { "content-type": "application/json", "x-api-key": "correct-horse" }
  const good = await fetch(`${server.url}/v1/messages`, { method: "POST", body: JSON.stringify(request), headers })
  expect(good.status).toBe(200)
})

describe("errors have Anthropic's shape", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serveScript({ tokens: saying("hello") }, { maxBodyBytes: 2 ** 16 })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const image = {
    role: "user",
    content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }],
  }
  test.each([
    [{ max_tokens: undefined }, "max_tokens"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ messages: undefined }, "messages"],
    [{ messages: [] }, "messages"],
    [{ messages: [{ role: "oracle", content: "x" }] }, "messages[0]"],
    [{ messages: [image] }, "messages[0].content[0].type"],
    [
      { messages: [{ role: "user", content: [{ type: "document", source: { type: "url", url: "x" } }] }] },
      "messages[0].content[0].source.type",
    ],
    [{ thinking: { type: "perhaps" } }, "thinking.type"],
    [{ output_config: { format: { type: "json_schema", schema: { $ref: "#/nowhere" } } } }, "output_config.format"],
    [
      { context_management: { edits: [{ type: "clear_tool_uses_20250919", keep: { type: "tool_uses", value: -1 } }] } },
      "context_management.edits[0].keep.value",
    ],
    [{ messages: [{ role: "user", content: "x".repeat(2000) }] }, "messages"],
    [{ system: [{ type: "image" }] }, "system[0]"],
    [{ temperature: 3 }, "temperature"],
    [{ top_k: 1.5 }, "top_k"],
    [{ stop_sequences: Array(65).fill("a") }, "stop_sequences"],
    [{ mcp_servers: [{ type: "url" }] }, "mcp_servers"],
  ])("400 for %j names %s", async (fields, param) => {
    const response = await post(server.url, { ...request, ...fields })
    expect(response.status).toBe(400)
    const body = await response.json()
    expect(body).toEqual({
      type: "error",
      error: { type: "invalid_request_error", message: expect.any(String) },
      request_id: response.headers.get("x-request-id"),
    })
    expect(body.error.message).toContain(`'${param}`)
    expect(server.engine.requests).toEqual([])
  })

  test("404 for an unknown model, as the client's NotFoundError", async () => {
    const error = await anthropicOf(server.url)
      .messages.create({ ...request, model: "claude" })
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.NotFoundError)
    expect(error.error).toMatchObject({ type: "error", error: { type: "not_found_error" } })
  })

  test("413 for a body that is too large, 404 and 405 for unknown paths and methods", async () => {
    const large = await post(server.url, { ...request, messages: [{ role: "user", content: "x".repeat(2 ** 17) }] })
    expect([large.status, (await large.json()).error.type]).toEqual([413, "request_too_large"])
    const batches = await post(server.url, {}, "/v1/messages/batches")
    expect([batches.status, (await batches.json()).type]).toEqual([404, "error"])
    const wrong = await fetch(`${server.url}/v1/messages`)
    expect([wrong.status, wrong.headers.get("allow"), (await wrong.json()).type]).toEqual([405, "POST", "error"])
    // Other paths keep OpenAI's error shape.
    const other = await post(server.url, {}, "/v1/messagesx")
    expect(Object.keys(await other.json())).toEqual(["error"])
  })

  test("429 while the queue is full, before a stream begins", async () => {
    const refusal = new OverloadedError("too many requests wait", "queue_full", 3)
    await using busy = await serveScript({ tokens: [], refusal })
    for (const stream of [false, true]) {
      const response = await post(busy.url, { ...request, stream })
      expect([response.status, response.headers.get("retry-after")]).toEqual([429, "3"])
      expect((await response.json()).error.type).toBe("rate_limit_error")
    }
  })
})

describe("with SmolLM2", () => {
  let server: TestServer
  let client: Anthropic
  beforeAll(async () => {
    server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 128 })
    client = anthropicOf(server.url)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const question = [{ role: "user" as const, content: "What is the capital of France?" }]
  const greedy = { temperature: 0 } as object

  test("answers with the same text plain and streamed, and counts the same prompt", async () => {
    const body = { ...greedy, model: server.model.name, max_tokens: 48, messages: question }
    const message = await client.messages.create(body)
    const [block] = message.content
    if (block?.type !== "text") throw new Error("no text")
    expect(block.text).toContain("Paris")
    expect(message.stop_reason).toBe("end_turn")
    const stream = client.messages.stream(body)
    const deltas: string[] = []
    stream.on("text", (delta) => deltas.push(delta))
    const streamed = await stream.finalMessage()
    expect(streamed.content as unknown[]).toEqual(message.content)
    expect(deltas.join("")).toBe(block.text)
    expect(deltas.length).toBeGreaterThan(3)
    // Tokens from the prefix cache are counted separately the second time.
    const { input_tokens, cache_read_input_tokens } = streamed.usage
    expect(cache_read_input_tokens).toBeGreaterThan(0)
    expect(input_tokens + (cache_read_input_tokens ?? 0)).toBe(message.usage.input_tokens)
    const counted = await client.messages.countTokens({ model: server.model.name, messages: question })
    expect(counted.input_tokens).toBe(message.usage.input_tokens)
  })

  test("reports that a full context ended the answer", async () => {
    const stream = client.messages.stream({
      ...greedy,
      model: server.model.name,
      max_tokens: 32_000,
      messages: [{ role: "user", content: "Write a very long story about the sea." }],
    })
    const message = await stream.finalMessage()
    expect(message.stop_reason).toBe("model_context_window_exceeded")
    const { input_tokens, cache_read_input_tokens, output_tokens } = message.usage
    expect(input_tokens + (cache_read_input_tokens ?? 0) + output_tokens).toBe(128)
  })
})
