/** Responses of the real model with the official client, as in a user's program. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import OpenAI from "openai"
import { zodResponsesFunction } from "openai/helpers/zod"
import { z } from "zod"
import { resolveModel } from "../../src/store/resolve.ts"
import { endings, idle, serveFile, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"

let server: TestServer
let responses: OpenAI.Responses
let model: string

beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 2048 })
  responses = server.client.responses
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const greedy = { temperature: 0, max_output_tokens: 48 }
const endless = { input: "Tell a long story.", ignore_eos: true, max_output_tokens: 1500 }

test("answers a question, with the same text plain and streamed, and stores the response", async () => {
  const plain = await responses.create({ model, input: "What is the capital of France?", ...greedy })
  expect(plain.output_text).toContain("Paris")
  expect(plain).toMatchObject({ status: "completed", incomplete_details: null })
  const streamed = await responses.stream({ model, input: "What is the capital of France?", ...greedy }).finalResponse()
  expect(streamed.output_text).toBe(plain.output_text)
  expect(streamed.usage).toMatchObject({
    input_tokens: plain.usage?.input_tokens,
    output_tokens: plain.usage?.output_tokens,
  })
  expect(await responses.retrieve(plain.id)).toMatchObject({ output: plain.output, usage: plain.usage })
  await responses.delete(plain.id)
  const gone = await responses.retrieve(plain.id).catch((thrown) => thrown)
  expect(gone).toBeInstanceOf(OpenAI.NotFoundError)
})

test("previous_response_id continues a conversation like its messages do, with a cached prompt", async () => {
  const first = await responses.create({ model, input: "What is the capital of France?", ...greedy })
  const next = await responses.create({ model, input: "And of Italy?", previous_response_id: first.id, ...greedy })
  expect(next.output_text).toContain("Rome")
  expect(next.usage?.input_tokens_details.cached_tokens).toBeGreaterThan(0)
  const { choices } = await server.client.chat.completions.create({
    model,
    messages: [
      { role: "user", content: "What is the capital of France?" },
      { role: "assistant", content: first.output_text },
      { role: "user", content: "And of Italy?" },
    ],
    temperature: 0,
    max_completion_tokens: greedy.max_output_tokens,
  })
  expect(choices[0]?.message.content).toBe(next.output_text)
})

describe("functions", () => {
  const Weather = z.object({ city: z.string(), days: z.int(), unit: z.enum(["celsius", "fahrenheit"]) })
  const tools = [
    zodResponsesFunction({
      name: "get_weather",
      description: "The weather of the next days in a city.",
      parameters: Weather,
    }),
    zodResponsesFunction({
      name: "get_time",
      description: "The time in a city.",
      parameters: z.object({ city: z.string() }),
    }),
  ]
  const input = "What will the weather be in Paris in the next three days, in degrees celsius?"
  const named = { type: "function" as const, name: "get_weather" }

  test("that are required are called, with arguments that the client parses, plain and streamed", async () => {
    const body = { model, input, tools, tool_choice: named, temperature: 0, max_output_tokens: 100 }
    const parsed = await responses.parse(body)
    expect(parsed.status).toBe("completed")
    expect(parsed.output).toHaveLength(1)
    const [called] = parsed.output
    if (called?.type !== "function_call") throw new Error(`it did not call: ${JSON.stringify(parsed.output)}`)
    expect(called.name).toBe("get_weather")
    expect(Weather.parse(called.parsed_arguments)).toEqual(Weather.parse(JSON.parse(called.arguments)))
    const streamed = await responses.stream(body).finalResponse()
    expect(streamed.output).toMatchObject([{ name: "get_weather", arguments: called.arguments, status: "completed" }])
  })

  test("have valid arguments at a high temperature, and the conversation continues after them", async () => {
    const made = await Promise.all(
      Array.from({ length: 4 }, (_, seed) =>
        responses.parse({
          model,
          input,
          tools,
          tool_choice: "required",
          temperature: 1.5,
          max_output_tokens: 400,
          seed,
        } as Parameters<typeof responses.parse>[0]),
      ),
    )
    for (const { status, output } of made) {
      const calls = output.filter((item) => item.type === "function_call")
      expect(calls.length).toBeGreaterThan(0)
      for (const { name, arguments: text } of status === "completed" ? calls : calls.slice(0, -1))
        if (name === "get_weather") Weather.parse(JSON.parse(text))
        else expect(Object.keys(JSON.parse(text))).toEqual(["city"])
    }
    const first = await responses.create({
      model,
      input,
      tools,
      tool_choice: named,
      temperature: 0,
      max_output_tokens: 100,
    })
    const [called] = first.output
    const call_id = called?.type === "function_call" ? called.call_id : ""
    const next = await responses.create({
      model,
      previous_response_id: first.id,
      input: [{ type: "function_call_output", call_id, output: "Sunny, 21 degrees." }],
      tools,
      tool_choice: "none",
      ...greedy,
    })
    expect(next.output).toMatchObject([{ type: "message" }])
    expect(next.output_text).not.toBe("")
  })
})

test("a response cut off by max_output_tokens is incomplete", async () => {
  const response = await responses.create({
    model,
    ...endless,
    max_output_tokens: 5,
  } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
  expect(response).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    usage: { output_tokens: 5 },
  })
})

describe("blocks are freed", () => {
  const body = () => ({ model, ...endless }) as OpenAI.Responses.ResponseCreateParamsNonStreaming
  /** Runs `leave`, waits until all blocks are free, and checks that `count` generations were aborted and none ended by itself. */
  async function cutsOff(count: number, leave: () => Promise<void>) {
    const before = await endings(server.url)
    await leave()
    await until(() => idle(server.model.engine))
    expect(await endings(server.url)).toEqual({ ...before, abort: before.abort + count })
  }

  test("when the client of a stream disconnects", () =>
    cutsOff(1, async () => {
      let seen = 0
      for await (const { type } of await responses.create({ ...body(), stream: true }))
        if (type === "response.output_text.delta" && ++seen === 5) break
    }))

  test("when the client of a plain request disconnects", () =>
    cutsOff(1, async () => {
      const controller = new AbortController()
      const answer = responses.create(body(), { signal: controller.signal }).catch((thrown) => thrown)
      await until(() => server.model.engine.stats().running === 1)
      controller.abort()
      expect(await answer).toBeInstanceOf(OpenAI.APIUserAbortError)
    }))

  test("when a background response is cancelled or deleted", () =>
    cutsOff(2, async () => {
      const cancelled = await responses.create({ ...body(), background: true })
      const deleted = await responses.create({ ...body(), background: true })
      await until(() => server.model.engine.stats().running === 2)
      expect((await responses.cancel(cancelled.id)).status).toBe("cancelled")
      await responses.delete(deleted.id)
    }))
})
