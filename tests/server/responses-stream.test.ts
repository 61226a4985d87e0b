/** Streaming, background and cancellation of `/v1/responses`, with OpenAI's client. */

import { describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import OpenAI from "openai"
import { OverloadedError } from "../../src/errors.ts"
import { clientOf } from "../support/http.ts"
import { until } from "../support/until.ts"
import { ask, call, events, open } from "./support/responses.ts"
import { saying, serveScript } from "./support/script-model.ts"

describe("a stream", () => {
  test("has the complete sequence of named and numbered events", async () => {
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
    // The response can be retrieved once its last event has been read.
    expect(await clientOf(server.url).responses.retrieve(created.response.id)).toMatchObject(completed.response)
  })

  test("adds up to the client's final response, and can be retrieved while it runs", async () => {
    // After four tokens, the engine waits until the response has been retrieved.
    const gate = Promise.withResolvers<void>()
    const before = (index: number) => (index === 4 ? gate.promise : undefined)
    await using server = await serveScript({ tokens: saying("slowly said"), before })
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
      if (event.type === "response.output_text.delta" && text.length === 4) {
        seen = await responses.retrieve(id)
        gate.resolve()
      }
    expect(seen).toMatchObject({ id, status: "in_progress", output: [{ status: "in_progress" }] })
    expect(seen?.output_text).toBe("slow")
    const final = await stream.finalResponse()
    expect([text, final.output_text, final.status]).toEqual(["slowly said", "slowly said", "completed"])
  })

  test("is kept alive by comments", async () => {
    // After one token, the engine waits until some pings have been read.
    const gate = Promise.withResolvers<void>()
    const before = (index: number) => (index === 1 ? gate.promise : undefined)
    await using server = await serveScript({ tokens: saying("slow"), before }, { pingMs: 5 })
    const response = await call(server.url, "", "POST", { ...ask, stream: true })
    let text = ""
    for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece
      if (text.split(": ping\n\n").length > 4) gate.resolve()
    }
    expect(events(text).at(-1).type).toBe("response.completed")
  })

  test("that fails midway ends with response.failed, and the failed response is stored", async () => {
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

  test("stops at once when its client disconnects, and is stored as cancelled", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const { responses } = clientOf(server.url)
    const stream = await responses.create({ ...ask, stream: true })
    let seen = 0
    let id = ""
    for await (const event of stream) {
      if (event.type === "response.created") id = event.response.id
      if (event.type === "response.output_text.delta" && ++seen === 5) break
    }
    await until(() => server.engine.running === 0)
    expect(server.engine.cancelled).toBe(1)
    const kept = await responses.retrieve(id)
    expect(kept).toMatchObject({ status: "cancelled", output: [{ status: "incomplete" }] })
    expect(kept.output_text).toStartWith("on an")
  })
})

test("a plain request stops when its client disconnects", async () => {
  await using server = await serveScript({ tokens: saying("x"), hang: true })
  const controller = new AbortController()
  const answer = clientOf(server.url)
    .responses.create(ask, { signal: controller.signal })
    .catch((thrown) => thrown)
  await until(() => server.engine.running === 1)
  controller.abort()
  expect(await answer).toBeInstanceOf(OpenAI.APIUserAbortError)
  await until(() => server.engine.running === 0)
  expect(server.engine.cancelled).toBe(1)
})

describe("a background response", () => {
  const ended = async (client: OpenAI, id: string) => {
    for (;;) {
      const response = await client.responses.retrieve(id)
      if (response.status !== "queued" && response.status !== "in_progress") return response
      await Bun.sleep(5)
    }
  }

  test("is queued, runs without its client, and can be retrieved", async () => {
    const gate = Promise.withResolvers<void>()
    await using server = await serveScript({ tokens: saying("later"), before: () => gate.promise })
    const client = clientOf(server.url)
    const queued = await client.responses.create({ ...ask, background: true })
    expect(queued).toMatchObject({ status: "queued", background: true, output: [] })
    expect((await client.responses.retrieve(queued.id)).status).toBe("in_progress")
    const { previous_response_id: _, ...body } = ask as typeof ask & { previous_response_id?: string }
    const early = await client.responses.create({ ...body, previous_response_id: queued.id }).catch((thrown) => thrown)
    expect([early.status, early.param]).toEqual([400, "previous_response_id"])
    gate.resolve()
    expect(await ended(client, queued.id)).toMatchObject({ status: "completed", output_text: "later" })
    const next = await client.responses.create({ ...body, previous_response_id: queued.id })
    expect(next.status).toBe("completed")
  })

  test("stays cancelled once it is cancelled", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    await until(async () => (await client.responses.retrieve(id)).output_text.length >= 5)
    const cancelled = await client.responses.cancel(id)
    expect(cancelled).toMatchObject({ id, status: "cancelled", output: [{ status: "incomplete" }] })
    expect(server.engine.running).toBe(0)
    expect((await client.responses.cancel(id)).status).toBe("cancelled")
    expect((await client.responses.retrieve(id)).output_text).toStartWith("on an")
  })

  test("stops when it is deleted", async () => {
    await using server = await serveScript({ tokens: saying("x"), hang: true })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    await until(() => server.engine.running === 1)
    await client.responses.delete(id)
    expect(server.engine.running).toBe(0)
    expect(await client.responses.retrieve(id).catch((thrown) => thrown)).toBeInstanceOf(OpenAI.NotFoundError)
  })

  test("can be streamed by several readers, each from where it stopped", async () => {
    // After four tokens, the engine waits until the first reader has left.
    const gate = Promise.withResolvers<void>()
    const before = (index: number) => (index === 4 ? gate.promise : undefined)
    await using server = await serveScript({ tokens: saying("read along"), before })
    const { responses } = clientOf(server.url)
    const stream = await responses.create({ ...ask, background: true, stream: true })
    const types: string[] = []
    let id = ""
    let last = 0
    for await (const event of stream) {
      types.push(event.type)
      last = event.sequence_number
      if (event.type === "response.created") {
        expect(event.response).toMatchObject({ status: "queued", background: true })
        id = event.response.id
      }
      if (event.type === "response.output_text.delta") break
    }
    expect(types.slice(0, 3)).toEqual(["response.created", "response.queued", "response.in_progress"])
    expect(server.engine.running).toBe(1)
    // The first reader has left; one reader resumes from there, another reads from the start.
    gate.resolve()
    const whole = responses.stream({ response_id: id })
    const rest: number[] = []
    let text = ""
    for await (const event of await responses.retrieve(id, { stream: true, starting_after: last })) {
      rest.push(event.sequence_number)
      if (event.type === "response.output_text.done") text = event.text
    }
    expect(rest).toEqual(rest.map((_, i) => last + 1 + i))
    expect(text).toBe("read along")
    const final = await whole.finalResponse()
    expect(final).toMatchObject({ id, status: "completed", output_text: "read along" })
    expect(server.engine.cancelled).toBe(0)
    // Readers that return after its end receive the same events.
    const again = await responses.stream({ response_id: id }).finalResponse()
    expect(again).toEqual(final)
    const end = []
    for await (const event of await responses.retrieve(id, { stream: true, starting_after: rest.at(-2) }))
      end.push(event)
    expect(end).toMatchObject([{ type: "response.completed", sequence_number: rest.at(-1) }])
    await responses.delete(id)
    const gone = await responses.retrieve(id, { stream: true }).catch((thrown) => thrown)
    expect(gone).toBeInstanceOf(OpenAI.NotFoundError)
    const plain = await responses.create(ask)
    const error = await responses.retrieve(plain.id, { stream: true }).catch((thrown) => thrown)
    expect([error.status, error.param, error.code]).toEqual([400, "stream", "not_streamed"])
  })

  test("ends its stream when it is cancelled", async () => {
    await using server = await serveScript({ tokens: [...Buffer.from("on and on ")], stepMs: 5 })
    const { responses } = clientOf(server.url)
    const stream = await responses.create({ ...ask, background: true, stream: true })
    let id = ""
    for await (const event of stream) {
      if (event.type === "response.created") id = event.response.id
      if (event.type === "response.output_text.delta" && event.sequence_number === 9) await responses.cancel(id)
    }
    expect((await responses.retrieve(id)).status).toBe("cancelled")
  })

  test("reports the reason of a failure", async () => {
    const refusal = new OverloadedError("too many requests wait", "queue_full", 3)
    await using server = await serveScript({ tokens: saying("x"), refusal })
    const client = clientOf(server.url)
    const { id } = await client.responses.create({ ...ask, background: true })
    const { status, error } = await ended(client, id)
    expect(status).toBe("failed")
    expect(error).toEqual({ code: "rate_limit_exceeded", message: "Too many requests wait; try again in 3 s." })
  })

  test("fails when the server stops; a response that is not in the background cannot be cancelled", async () => {
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
    // Responses in a file survive a restart.
    await using server = await serveScript({ tokens: saying("x") }, { responsesPath })
    expect((await clientOf(server.url).responses.retrieve(plain)).output_text).toBe("x")
    await rm(folder, { recursive: true })
  })
})

test("a response belongs to the API key that created it", async () => {
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
