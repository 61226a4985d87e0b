/** `/v1/responses` with OpenAI's client: input, output, conversations and token counts. */

import { describe, expect, test } from "bun:test"
import OpenAI from "openai"
import { clientOf } from "../support/http.ts"
import { ask, OPEN_TEMPLATE, open, prompt } from "./support/responses.ts"
import { saying, serveScript } from "./support/script-model.ts"

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

  test("passes sampling parameters and limits to the engine", async () => {
    await using server = await serveScript({ tokens: saying("abcdefghijkl") })
    const body = {
      ...ask,
      max_output_tokens: 7,
      temperature: 0.25,
      top_p: 0.5,
      top_k: 9,
      seed: 3,
      stop: ["f"],
      min_tokens: 2,
    }
    const response = await clientOf(server.url).responses.create(body)
    const [made] = server.engine.requests
    expect(made).toMatchObject({ maxTokens: 7, minTokens: 2 })
    expect(made?.sampling).toMatchObject({ temperature: 0.25, topP: 0.5, topK: 9, seed: 3n })
    expect(response).toMatchObject({
      status: "completed",
      output_text: "abcde",
      max_output_tokens: 7,
      temperature: 0.25,
    })
  })

  test.each([3, 8])("cut off after %d tokens is incomplete, and so is its item", async (max_output_tokens) => {
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

  test("without generated text has an empty message", async () => {
    await using server = await serveScript({ tokens: saying("") })
    const response = await clientOf(server.url).responses.create(ask)
    expect(response).toMatchObject({ status: "completed", output: [{ content: [{ text: "" }] }], output_text: "" })
  })

  test("has log-probabilities if include requests them, plain and streamed", async () => {
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
  test("is a text or items, and follows the instructions in the prompt", async () => {
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

  test("combines reasoning, function calls and their results into one turn", async () => {
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

  test("is listed in pages, last item first", async () => {
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

  test("too long for the context loses its oldest turns with truncation auto, and is refused otherwise", async () => {
    await using server = await serveScript(
      { tokens: saying("ok") },
      {},
      { contextLength: 100 },
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
    // Truncation reserves space for the answer, keeps the last turn, and leaves an input that fits unchanged.
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

test("input_tokens counts the input as its response would, and generates nothing", async () => {
  await using server = await open("pong")
  const { responses } = clientOf(server.url)
  const first = await responses.create({ ...ask, input: "ping" })
  const body = { ...ask, instructions: "Be brief.", previous_response_id: first.id }
  const counted = await responses.inputTokens.count(body)
  expect(counted).toEqual({
    object: "response.input_tokens",
    input_tokens: "<system>Be brief.;<user>ping;<assistant>pong;<user>hi;<assistant>".length,
  })
  expect(server.engine.requests).toHaveLength(1)
  const { usage } = await responses.create(body)
  expect(usage?.input_tokens).toBe(counted.input_tokens)
  const error = await responses.inputTokens.count({ ...ask, tool_choice: "required" }).catch((thrown) => thrown)
  expect([error.status, error.param]).toEqual([400, "tool_choice"])
})

describe("a conversation", () => {
  test("continues from a response without its instructions", async () => {
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

  test("accepts earlier output items, in full or by id", async () => {
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

  test("cannot continue from an unknown, deleted or unstored response", async () => {
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

describe("a model that thinks", () => {
  test("can be switched to answer without thinking", async () => {
    await using server = await open("Yes")
    const { responses } = clientOf(server.url)
    const response = await responses.create({ ...ask, reasoning: { effort: "none", summary: "auto" } })
    expect(prompt(server)).toEndWith("<assistant><think></think>")
    expect(response.reasoning).toEqual({ effort: "none", summary: null })
    await using other = await serveScript({ tokens: saying("x") })
    const without = await clientOf(other.url).responses.create({ ...ask, reasoning: { effort: "low" } })
    expect(without).toMatchObject({ status: "completed", reasoning: { effort: "low" } })
  })
})
