/** OpenAI's own client against `/v1/responses`. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import OpenAI from "openai"
import { OverloadedError } from "../../src/engine/types.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { type ScriptedServer, saying, serveScript, until } from "./support/script-model.ts"

setDefaultTimeout(60_000)

const clientOf = (url: string, apiKey = "none") => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
const ask = { model: "script", input: "hi" }

const call = (url: string, path: string, method = "GET", body?: object) =>
  fetch(`${url}/v1/responses${path}`, {
    method,
    headers: { authorization: "Bearer none", ...(body && { "content-type": "application/json" }) },
    ...(body && { body: JSON.stringify(body) }),
  })

/** The stream's events, each checked to carry its own name and number. */
const events = (text: string) =>
  text
    .split("\n\n")
    .filter((part) => part !== "" && !part.startsWith(":"))
    .map((part, i) => {
      const [, name, data] = /^event: ([\w.]+)\ndata: (.*)$/s.exec(part) ?? []
      const event = JSON.parse(data ?? "null")
      expect([event.type, event.sequence_number]).toEqual([name, i])
      return event
    })

/** Writes every message with its role, and what was thought before it. */
const OPEN_TEMPLATE = new ChatTemplate(
  "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}" +
    "{{ (m.content or '').split('</think>')[-1] }};{% endfor %}" +
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}{% endif %}",
)
const open = (says: string, options: Parameters<typeof serveScript>[1] = {}, script: object = {}) =>
  serveScript({ tokens: saying(says), ...script }, options, {}, { chatTemplate: OPEN_TEMPLATE })
/** The prompt of the newest request. */
const prompt = ({ model, engine }: ScriptedServer) => model.tokenizer.decode(engine.requests.at(-1)?.tokens ?? [])

describe("a response", () => {
  test("has a message, a status and usage", async () => {
    await using server = await serveScript({ tokens: saying("Grüße, 東京") })
    const response = await clientOf(server.url).responses.create({ ...ask, metadata: { topic: "greeting" } })
    expect(response).toMatchObject({
      object: "response",
      model: "script",
      status: "completed",
      error: null,
      incomplete_details: null,
      output_text: "Grüße, 東京",
      output: [
        {
          type: "message",
          role: "assistant",
          status: "completed",
          content: [{ type: "output_text", text: "Grüße, 東京", annotations: [] }],
        },
      ],
      usage: {
        input_tokens: 2,
        input_tokens_details: { cached_tokens: 0 },
        output_tokens: saying("Grüße, 東京").length,
        total_tokens: 2 + saying("Grüße, 東京").length,
      },
      metadata: { topic: "greeting" },
      instructions: null,
      previous_response_id: null,
      store: true,
      background: false,
      temperature: 1,
      top_p: 1,
    })
    expect(response.id).toStartWith("resp_")
    expect(response.output[0]?.id).toStartWith("msg_")
    expect(Math.abs((response.completed_at ?? 0) - response.created_at)).toBeLessThan(60)
  })

  test("passes on sampling and limits", async () => {
    await using server = await serveScript({ tokens: saying("abcdefghijkl") })
    const body = { ...ask, max_output_tokens: 7, temperature: 0.25, top_p: 0.5, top_k: 9, seed: 3, stop: ["f"] }
    const response = await clientOf(server.url).responses.create(body)
    const [made] = server.engine.requests
    expect(made?.max_tokens).toBe(7)
    expect(made?.sampling).toMatchObject({ temperature: 0.25, top_p: 0.5, top_k: 9, seed: 3n })
    expect(response).toMatchObject({
      status: "completed",
      output_text: "abcde",
      max_output_tokens: 7,
      temperature: 0.25,
    })
  })

  test.each([3, 8])("that is cut off after %d tokens is incomplete, and so is its item", async (max_output_tokens) => {
    await using server = await serveScript({ tokens: saying("abcdefgh") })
    const { responses } = clientOf(server.url)
    const plain = await responses.create({ ...ask, max_output_tokens })
    const streamed = await responses.stream({ ...ask, max_output_tokens }).finalResponse()
    for (const response of [plain, streamed])
      expect(response).toMatchObject({
        status: "incomplete",
        incomplete_details: { reason: "max_output_tokens" },
        output: [{ status: "incomplete" }],
        output_text: "abcdefgh".slice(0, max_output_tokens),
        usage: { output_tokens: max_output_tokens },
      })
  })

  test("with nothing to say is an empty message", async () => {
    await using server = await serveScript({ tokens: saying("") })
    const response = await clientOf(server.url).responses.create(ask)
    expect(response).toMatchObject({ status: "completed", output: [{ content: [{ text: "" }] }], output_text: "" })
  })

  test("has log-probabilities where include asks for them, plain and streamed", async () => {
    await using server = await serveScript({ tokens: saying("é!") })
    const { responses } = clientOf(server.url)
    const body = { ...ask, include: ["message.output_text.logprobs" as const], top_logprobs: 1 }
    const plain = await responses.create(body)
    const streamed = await responses.stream(body).finalResponse()
    for (const { output } of [plain, streamed]) {
      const [message] = output
      const [part] = message?.type === "message" ? message.content : []
      const logprobs = (part?.type === "output_text" && part.logprobs) || []
      expect(logprobs.flatMap(({ bytes }) => bytes)).toEqual([...Buffer.from("é!")])
      expect(logprobs[2]).toEqual({
        token: "!",
        logprob: -0.5,
        bytes: [33],
        top_logprobs: [{ token: "!", logprob: -0.5, bytes: [33] }],
      })
    }
  })
})

describe("input", () => {
  test("is a text or items, behind the instructions", async () => {
    await using server = await open("ok")
    const { responses } = clientOf(server.url)
    await responses.create({ ...ask, instructions: "Be brief." })
    expect(prompt(server)).toBe("<system>Be brief.;<user>hi;<assistant>")
    await responses.create({
      model: "script",
      instructions: "Be brief.",
      input: [
        { role: "developer", content: "Be kind." },
        {
          role: "user",
          content: [
            { type: "input_text", text: "one" },
            { type: "input_text", text: " two" },
          ],
        },
        { type: "message", role: "assistant", content: "three" },
        { role: "user", content: "four" },
      ],
    })
    expect(prompt(server)).toBe("<system>Be brief.\n\nBe kind.;<user>one two;<assistant>three;<user>four;<assistant>")
  })

  test("takes calls of functions, their results and reasoning as one turn", async () => {
    await using server = await open("ok")
    await clientOf(server.url).responses.create({
      model: "script",
      input: [
        { role: "user", content: "add" },
        { type: "reasoning", id: "rs_1", summary: [], content: [{ type: "reasoning_text", text: "hm" }] },
        { type: "function_call", call_id: "c1", name: "add", arguments: '{"a":1}' },
        { type: "function_call", call_id: "c2", name: "sub", arguments: "{}" },
        { type: "function_call_output", call_id: "c1", output: "2" },
        { type: "function_call_output", call_id: "c2", output: [{ type: "input_text", text: "0" }] },
        { type: "reasoning", id: "rs_2", summary: [{ type: "summary_text", text: "cut off" }] },
        { role: "user", content: "and?" },
      ],
    })
    expect(prompt(server)).toBe(
      '<user>add;<assistant>(hm)<tool_call>\n{"name": "add", "arguments": {"a":1}}\n</tool_call>\n' +
        '<tool_call>\n{"name": "sub", "arguments": {}}\n</tool_call>;' +
        "<user><tool_response>\n2\n</tool_response>\n<tool_response>\n0\n</tool_response>;" +
        "<assistant>(cut off);<user>and?;<assistant>",
    )
  })

  test("is listed, page by page, the last item first", async () => {
    await using server = await open("ok")
    const { responses } = clientOf(server.url)
    const { id } = await responses.create({
      model: "script",
      input: ["a", "b", "c"].map((content) => ({ role: "user" as const, content })),
    })
    const texts: string[] = []
    for await (const item of responses.inputItems.list(id, { limit: 2 }))
      if (item.type === "message" && item.content[0]?.type === "input_text") texts.push(item.content[0].text)
    expect(texts).toEqual(["c", "b", "a"])
    const page = await responses.inputItems.list(id, { limit: 2, order: "asc" })
    expect(page.data).toMatchObject([
      { type: "message", role: "user", status: "completed", content: [{ type: "input_text", text: "a" }] },
      { content: [{ text: "b" }] },
    ])
    expect(page.has_more).toBeTrue()
    const rest = await responses.inputItems.list(id, { order: "asc", after: page.data[1]?.id ?? "" })
    expect(rest.data).toMatchObject([{ content: [{ text: "c" }] }])
    expect(rest.has_more).toBeFalse()
  })

  test("leaves out the oldest turns where truncation is auto, and is refused where it is not", async () => {
    await using server = await serveScript(
      { tokens: saying("ok") },
      {},
      { context_length: 100 },
      { chatTemplate: OPEN_TEMPLATE },
    )
    const { responses } = clientOf(server.url)
    const turn = (n: number) => [
      { role: "user" as const, content: `question ${n}` },
      { role: "assistant" as const, content: `answer ${n}` },
    ]
    const body = {
      model: "script",
      instructions: "Count.",
      input: [...turn(1), ...turn(2), ...turn(3), { role: "user" as const, content: "next" }],
    }
    const error = await responses.create(body).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect([error.code, error.param]).toEqual(["context_length_exceeded", "input"])
    const response = await responses.create({ ...body, truncation: "auto" })
    expect(response.truncation).toBe("auto")
    expect(prompt(server)).toBe("<system>Count.;<user>question 3;<assistant>answer 3;<user>next;<assistant>")
    // Room for the answer is kept, the last turn stays, and what fits is left as it is.
    await responses.create({ ...body, truncation: "auto", max_output_tokens: 50 })
    expect(prompt(server)).toBe("<system>Count.;<user>next;<assistant>")
    await responses.create({ ...ask, truncation: "auto" })
    expect(prompt(server)).toBe("<user>hi;<assistant>")
    const long = await responses
      .create({ ...ask, input: "x".repeat(200), truncation: "auto" })
      .catch((thrown) => thrown)
    expect([long.code, long.param]).toEqual(["context_length_exceeded", "input"])
  })
})

describe("a conversation", () => {
  test("goes on from a response, whose instructions do not carry over", async () => {
    await using server = await open("pong")
    const { responses } = clientOf(server.url)
    const first = await responses.create({ ...ask, input: "ping", instructions: "One." })
    const second = await responses.create({
      ...ask,
      input: "again",
      instructions: "Two.",
      previous_response_id: first.id,
    })
    expect(prompt(server)).toBe("<system>Two.;<user>ping;<assistant>pong;<user>again;<assistant>")
    const third = await responses.create({ ...ask, input: "more", previous_response_id: second.id })
    expect(prompt(server)).toBe("<user>ping;<assistant>pong;<user>again;<assistant>pong;<user>more;<assistant>")
    expect(third.previous_response_id).toBe(second.id)
    const { data } = await responses.inputItems.list(third.id)
    expect(data).toHaveLength(1)
  })

  test("takes earlier output back, whole or by its id", async () => {
    await using server = await open("<think>why</think>pong")
    const { responses } = clientOf(server.url)
    const first = await responses.create({ ...ask, input: "ping" })
    const expected = "<user>ping;<assistant>(why)pong;<user>again;<assistant>"
    await responses.create({
      model: "script",
      input: [{ role: "user", content: "ping" }, ...first.output, { role: "user", content: "again" }],
      store: false,
    } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
    expect(prompt(server)).toBe(expected)
    const { data } = await responses.inputItems.list(first.id)
    const ids = [...data, ...first.output].map(({ id }) => id ?? "")
    const again = await responses.create({
      model: "script",
      input: [...ids.map((id) => ({ type: "item_reference" as const, id })), { role: "user", content: "again" }],
    })
    expect(prompt(server)).toBe(expected)
    const items = await responses.inputItems.list(again.id, { order: "asc" })
    expect(items.data.slice(0, 3).map(({ id }) => id)).toEqual(ids)
  })

  test("cannot go on from what is not there, is deleted, or was not stored", async () => {
    await using server = await open("pong")
    const { responses } = clientOf(server.url)
    const first = await responses.create(ask)
    const second = await responses.create({ ...ask, previous_response_id: first.id })
    const unstored = await responses.create({ ...ask, store: false })
    expect(unstored).toMatchObject({ store: false })
    await responses.delete(first.id)
    for (const previous_response_id of ["resp_none", first.id, second.id, unstored.id]) {
      const error = await responses.create({ ...ask, previous_response_id }).catch((thrown) => thrown)
      expect(error).toBeInstanceOf(OpenAI.BadRequestError)
      expect([error.param, error.code]).toEqual(["previous_response_id", "previous_response_not_found"])
    }
    const input = [{ type: "item_reference" as const, id: "msg_none" }]
    const error = await responses.create({ ...ask, input }).catch((thrown) => thrown)
    expect([error.status, error.param, error.code]).toEqual([400, "input[0].id", "item_not_found"])
  })
})

describe("a stream", () => {
  test("is the whole sequence of events, under their names and numbers", async () => {
    await using server = await open("<think>Hm</think>Yes")
    const response = await call(server.url, "", "POST", { ...ask, stream: true })
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8")
    const list = events(await response.text())
    const [created, progress, ...rest] = list
    expect(created).toMatchObject({ type: "response.created", response: { status: "in_progress", output: [] } })
    expect(progress).toMatchObject({ type: "response.in_progress", response: { id: created.response.id } })
    const completed = rest.pop()
    expect(completed).toMatchObject({ type: "response.completed", response: { status: "completed" } })
    const [reasoning, message] = completed.response.output
    expect(reasoning).toMatchObject({
      type: "reasoning",
      summary: [],
      content: [{ type: "reasoning_text", text: "Hm" }],
    })
    expect(completed.response.usage.output_tokens_details.reasoning_tokens).toBe("Hm</think>".length)
    const numbered = (start: number, of: object[]) => of.map((event, i) => ({ ...event, sequence_number: start + i }))
    const place = (item: { id: string }, output_index: number) => ({ item_id: item.id, output_index, content_index: 0 })
    const thought = place(reasoning, 0)
    const said = place(message, 1)
    const part = { type: "output_text", text: "", annotations: [] }
    expect(rest).toEqual(
      numbered(2, [
        {
          type: "response.output_item.added",
          output_index: 0,
          item: { ...reasoning, status: "in_progress", content: [] },
        },
        { type: "response.content_part.added", ...thought, part: { type: "reasoning_text", text: "" } },
        { type: "response.reasoning_text.delta", ...thought, delta: "H" },
        { type: "response.reasoning_text.delta", ...thought, delta: "m" },
        { type: "response.reasoning_text.done", ...thought, text: "Hm" },
        { type: "response.content_part.done", ...thought, part: { type: "reasoning_text", text: "Hm" } },
        { type: "response.output_item.done", output_index: 0, item: reasoning },
        {
          type: "response.output_item.added",
          output_index: 1,
          item: { ...message, status: "in_progress", content: [] },
        },
        { type: "response.content_part.added", ...said, part },
        ...[..."Yes"].map((delta) => ({ type: "response.output_text.delta", ...said, delta, logprobs: [] })),
        { type: "response.output_text.done", ...said, text: "Yes", logprobs: [] },
        { type: "response.content_part.done", ...said, part: { ...part, text: "Yes" } },
        { type: "response.output_item.done", output_index: 1, item: message },
      ]),
    )
    // Whoever has read the end can retrieve it.
    expect(await clientOf(server.url).responses.retrieve(created.response.id)).toMatchObject(completed.response)
  })

  test("adds up to what the client's helper makes of it, and can be retrieved while it is made", async () => {
    await using server = await serveScript({ tokens: saying("slowly said"), stepMs: 30 })
    const { responses } = clientOf(server.url)
    const stream = responses.stream(ask)
    let id = ""
    let text = ""
    let seen: OpenAI.Responses.Response | undefined
    stream.on("response.created", ({ response }) => {
      id = response.id
    })
    stream.on("response.output_text.delta", ({ delta }) => {
      text += delta
    })
    for await (const event of stream)
      if (event.type === "response.output_text.delta" && text.length === 4) seen = await responses.retrieve(id)
    expect(seen).toMatchObject({ id, status: "in_progress", output: [{ status: "in_progress" }] })
    expect(seen?.output_text).toStartWith("slow")
    const final = await stream.finalResponse()
    expect([text, final.output_text, final.status]).toEqual(["slowly said", "slowly said", "completed"])
  })

  test("is kept alive by comments", async () => {
    await using server = await serveScript({ tokens: saying("slow"), stepMs: 200 }, { pingMs: 50 })
    const text = await (await call(server.url, "", "POST", { ...ask, stream: true })).text()
    expect(text.split(": ping\n\n").length).toBeGreaterThan(4)
    expect(events(text).at(-1).type).toBe("response.completed")
  })

  test("that fails midway ends with response.failed, and is kept as it is", async () => {
    await using server = await serveScript({ tokens: saying("hello"), stepMs: 5, failAfter: 3 })
    const { responses } = clientOf(server.url)
    const final = await responses.stream(ask).finalResponse()
    expect(final).toMatchObject({
      status: "failed",
      error: { code: "server_error", message: "The engine failed: the device was lost" },
      output: [{ status: "incomplete", content: [{ text: "hel" }] }],
    })
    expect(await responses.retrieve(final.id)).toMatchObject({ status: "failed", output_text: "hel" })
  })

  test("that its client leaves stops at once, and is kept as cancelled", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const { responses } = clientOf(server.url)
    const stream = await responses.create({ ...ask, stream: true })
    let seen = 0
    let id = ""
    for await (const event of stream) {
      if (event.type === "response.created") id = event.response.id
      if (event.type === "response.output_text.delta" && ++seen === 5) break
    }
    expect(await until(() => server.engine.running === 0)).toBeLessThan(500)
    expect(server.engine.cancelled).toBe(1)
    const kept = await responses.retrieve(id)
    expect(kept).toMatchObject({ status: "cancelled", output: [{ status: "incomplete" }] })
    expect(kept.output_text).toStartWith("on an")
  })
})

test("a plain request that its client leaves stops", async () => {
  await using server = await serveScript({ tokens: saying("x"), hang: true })
  const controller = new AbortController()
  const answer = clientOf(server.url)
    .responses.create(ask, { signal: controller.signal })
    .catch((thrown) => thrown)
  await until(() => server.engine.running === 1)
  controller.abort()
  expect(await answer).toBeInstanceOf(OpenAI.APIUserAbortError)
  expect(await until(() => server.engine.running === 0)).toBeLessThan(500)
})

describe("a model that thinks", () => {
  test("can be told not to, where it has a switch", async () => {
    await using server = await open("Yes")
    const { responses } = clientOf(server.url)
    const response = await responses.create({ ...ask, reasoning: { effort: "none", summary: "auto" } })
    expect(prompt(server)).toEndWith("<assistant><think></think>")
    expect(response.reasoning).toEqual({ effort: "none", summary: null })
    await using other = await serveScript({ tokens: saying("x") })
    const error = await clientOf(other.url)
      .responses.create({ ...ask, reasoning: { effort: "low" } })
      .catch((thrown) => thrown)
    expect([error.status, error.param, error.code]).toEqual([400, "reasoning.effort", "unsupported_parameter"])
  })
})

describe("a response in the background", () => {
  const ended = async (client: OpenAI, id: string) => {
    for (;;) {
      const response = await client.responses.retrieve(id)
      if (response.status !== "queued" && response.status !== "in_progress") return response
      await Bun.sleep(5)
    }
  }

  test("is queued, made without its client, and retrieved", async () => {
    await using server = await serveScript({ tokens: saying("later"), stepMs: 20 })
    const client = clientOf(server.url)
    const queued = await client.responses.create({ ...ask, background: true })
    expect(queued).toMatchObject({ status: "queued", background: true, output: [] })
    expect((await client.responses.retrieve(queued.id)).status).toBe("in_progress")
    const { previous_response_id: _, ...body } = ask as typeof ask & { previous_response_id?: string }
    const early = await client.responses.create({ ...body, previous_response_id: queued.id }).catch((thrown) => thrown)
    expect([early.status, early.param]).toEqual([400, "previous_response_id"])
    expect(await ended(client, queued.id)).toMatchObject({ status: "completed", output_text: "later" })
    const next = await client.responses.create({ ...body, previous_response_id: queued.id })
    expect(next.status).toBe("completed")
  })

  test("is cancelled, and stays so", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    while ((await client.responses.retrieve(id)).output_text.length < 5) await Bun.sleep(5)
    const cancelled = await client.responses.cancel(id)
    expect(cancelled).toMatchObject({ id, status: "cancelled", output: [{ status: "incomplete" }] })
    expect(server.engine.running).toBe(0)
    expect((await client.responses.cancel(id)).status).toBe("cancelled")
    expect((await client.responses.retrieve(id)).output_text).toStartWith("on an")
  })

  test("is stopped by being deleted", async () => {
    await using server = await serveScript({ tokens: saying("x"), hang: true })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    await until(() => server.engine.running === 1)
    await client.responses.delete(id)
    expect(server.engine.running).toBe(0)
    expect(await client.responses.retrieve(id).catch((thrown) => thrown)).toBeInstanceOf(OpenAI.NotFoundError)
  })

  test("that fails says why", async () => {
    const refusal = new OverloadedError("too many requests wait", "queue_full", 3)
    await using server = await serveScript({ tokens: saying("x"), refusal })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    const { status, error } = await ended(client, id)
    expect(status).toBe("failed")
    expect(error).toEqual({ code: "rate_limit_exceeded", message: "Too many requests wait; try again in 3 s." })
  })

  test("is over when the server is, and others cannot be cancelled", async () => {
    const folder = await mkdtemp(join(tmpdir(), "rocmforge-responses-"))
    const responsesPath = join(folder, "responses.db")
    let id = ""
    let plain = ""
    {
      await using server = await serveScript({ tokens: saying("x"), hang: true }, { responsesPath })
      id = (await clientOf(server.url).responses.create({ ...ask, background: true })).id
      await until(() => server.engine.running === 1)
    }
    {
      await using server = await serveScript({ tokens: saying("x") }, { responsesPath })
      const { responses } = clientOf(server.url)
      expect(await responses.retrieve(id)).toMatchObject({ status: "failed", error: { code: "server_error" } })
      plain = (await responses.create(ask)).id
      const error = await responses.cancel(plain).catch((thrown) => thrown)
      expect([error.status, error.code]).toEqual([400, "not_in_background"])
    }
    // What is kept in a file survives a restart.
    await using server = await serveScript({ tokens: saying("x") }, { responsesPath })
    expect((await clientOf(server.url).responses.retrieve(plain)).output_text).toBe("x")
    await rm(folder, { recursive: true })
  })
})

test("belongs to the API key that made it", async () => {
  const apiKeys = [
    { name: "one", key: "key-one" },
    { name: "two", key: "key-two" },
  ]
  await using server = await serveScript({ tokens: saying("private") }, { apiKeys })
  const one = clientOf(server.url, "key-one").responses
  const two = clientOf(server.url, "key-two").responses
  const { id, output } = await one.create({ ...ask, background: true })
  await until(() => server.engine.running === 0)
  const made = await one.create(ask)
  expect(output).toEqual([])
  for (const attempt of [
    () => two.retrieve(made.id),
    () => two.retrieve(id),
    () => two.delete(made.id),
    () => two.cancel(id),
    () => two.inputItems.list(made.id),
  ]) {
    const error = await attempt().then(
      () => undefined,
      (thrown) => thrown,
    )
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error.code).toBe("response_not_found")
  }
  const input = [{ type: "item_reference" as const, id: made.output[0]?.id ?? "" }]
  for (const body of [
    { ...ask, previous_response_id: made.id },
    { ...ask, input },
  ])
    expect(await two.create(body).catch((thrown) => thrown)).toBeInstanceOf(OpenAI.BadRequestError)
  expect((await one.retrieve(made.id)).output_text).toBe("private")
  const anonymous = await fetch(`${server.url}/v1/responses/${made.id}`)
  expect(anonymous.status).toBe(401)
})

describe("errors have OpenAI's shape", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serveScript({ tokens: saying("hello") }, { maxBodyBytes: 2 ** 16 })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const image = { role: "user", content: [{ type: "input_image", image_url: "data:" }] }
  const sealed = { type: "reasoning", id: "rs", summary: [], encrypted_content: "x" }
  const unsupported = "unsupported_parameter"
  test.each([
    [{ input: undefined }, "input", "missing_required_parameter"],
    [{ input: "" }, "input", "invalid_value"],
    [{ input: [] }, "input", "invalid_value"],
    [{ input: 1 }, "input", "invalid_value"],
    [{ input: [{ role: "oracle", content: "x" }] }, "input[0].role", "invalid_value"],
    [{ input: [{ role: "user" }] }, "input[0].content", "missing_required_parameter"],
    [{ input: [image] }, "input[0].content[0].type", "invalid_value"],
    [{ input: [{ type: "web_search_call", id: "ws" }] }, "input[0].type", "invalid_value"],
    [{ input: [sealed] }, "input[0].encrypted_content", "invalid_type"],
    [
      { input: [{ type: "function_call", call_id: "c", name: "f" }] },
      "input[0].arguments",
      "missing_required_parameter",
    ],
    [{ input: "x".repeat(2000) }, "input", "context_length_exceeded"],
    [{ instructions: 1 }, "instructions", "invalid_type"],
    [{ max_output_tokens: 0 }, "max_output_tokens", "invalid_value"],
    [{ temperature: 3 }, "temperature", "invalid_value"],
    [{ metadata: { a: 1 } }, "metadata.a", "invalid_type"],
    [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, ""])) }, "metadata", "invalid_value"],
    [{ include: ["file_search_call.results"] }, "include[0]", "invalid_value"],
    [{ top_logprobs: 2 }, "top_logprobs", "invalid_value"],
    [{ stream_options: {} }, "stream_options", "invalid_value"],
    [{ background: true, store: false }, "store", "invalid_value"],
    [{ background: true, stream: true }, "stream", unsupported],
    [{ text: { verbosity: "low" } }, "text.verbosity", unsupported],
    [{ reasoning: { summary: "detailed" } }, "reasoning.summary", unsupported],
    [{ reasoning: { effort: "high" } }, "reasoning.effort", unsupported],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type", "invalid_value"],
    [{ tools: [{ type: "function", name: "a b" }] }, "tools[0].name", "invalid_value"],
    [{ tools: Array(2).fill({ type: "function", name: "f" }) }, "tools[1].name", "invalid_value"],
    [{ tool_choice: "required" }, "tool_choice", "invalid_value"],
    [{ tool_choice: { type: "function", name: "f" } }, "tool_choice.name", "invalid_value"],
    [
      { tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "f" }] } },
      "tool_choice.tools[0].name",
      "invalid_value",
    ],
    [{ max_tool_calls: 1 }, "max_tool_calls", unsupported],
    [{ conversation: "conv" }, "conversation", unsupported],
    [{ prompt: { id: "pmpt" } }, "prompt", unsupported],
    [{ truncation: "middle" }, "truncation", "invalid_value"],
    [{ max_tokens: 5 }, "max_tokens", "unknown_parameter"],
  ])("400 for %j names %s", async (fields, param, code) => {
    const response = await call(server.url, "", "POST", { ...ask, ...fields })
    expect(response.status).toBe(400)
    const { error } = await response.json()
    expect(error).toMatchObject({ type: "invalid_request_error", param, code })
    expect(error.message).toContain(`'${param}'`)
    expect(server.engine.requests).toEqual([])
  })

  test.each([
    ["GET", "/resp_none", 404, "response_not_found"],
    ["DELETE", "/resp_none", 404, "response_not_found"],
    ["POST", "/resp_none/cancel", 404, "response_not_found"],
    ["GET", "/resp_none/input_items", 404, "response_not_found"],
    ["GET", "/resp_none?stream=true", 400, "invalid_value"],
    ["GET", "/resp_none?include[]=file_search_call.results", 400, "invalid_value"],
    ["GET", "/resp_none/input_items?limit=0", 400, "invalid_value"],
    ["GET", "/resp_none/input_items?order=up", 400, "invalid_value"],
    ["GET", "/resp_none/input_items?page=2", 400, "unknown_parameter"],
    ["PUT", "/resp_none", 405, "method_not_allowed"],
    ["GET", "", 405, "method_not_allowed"],
  ])("%s %s is %d, %s", async (method, path, status, code) => {
    const response = await call(server.url, path, method)
    expect([response.status, (await response.json()).error.code]).toEqual([status, code])
  })

  test("as the client's own, for a model that is not there", async () => {
    const error = await clientOf(server.url)
      .responses.create({ ...ask, model: "gpt-5" })
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error.param).toBe("model")
  })

  test("with a status of their own where a stream has not begun", async () => {
    const refusal = new OverloadedError("too many requests wait", "queue_full", 3)
    await using full = await serveScript({ tokens: saying("x"), refusal })
    const error = await clientOf(full.url)
      .responses.create({ ...ask, stream: true })
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
  })
})
