/** Responses of the real model, with the official client: this is what a user does. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import OpenAI from "openai"
import { resolveModel } from "../../src/store/resolve.ts"
import { until } from "./support/script-model.ts"
import { type FileServer, serveFile } from "./support/serve-file.ts"

setDefaultTimeout(300_000)

let server: FileServer
let responses: OpenAI.Responses
let model: string

beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctx_size: 2048 })
  responses = server.client.responses
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const greedy = { temperature: 0, max_output_tokens: 48 }
const endless = { input: "Tell a long story.", ignore_eos: true, max_output_tokens: 1500 }
/** Nothing runs, and every block of the cache is free. */
const idle = () => {
  const { running, waiting, blocks_free, blocks_total } = server.model.engine.stats()
  return running === 0 && waiting === 0 && blocks_free === blocks_total
}

test("a question is answered, streamed the same, and kept", async () => {
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

test("a conversation goes on by its id as it does by its messages, with the prompt found again", async () => {
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

test("what is cut off by its length says so", async () => {
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

describe("blocks are free again", () => {
  const body = () => ({ model, ...endless }) as OpenAI.Responses.ResponseCreateParamsNonStreaming

  test("when the client of a stream has left", async () => {
    let seen = 0
    for await (const { type } of await responses.create({ ...body(), stream: true }))
      if (type === "response.output_text.delta" && ++seen === 5) break
    expect(await until(idle)).toBeLessThan(2000)
  })

  test("when the client of a plain request has left", async () => {
    const controller = new AbortController()
    const answer = responses.create(body(), { signal: controller.signal }).catch((thrown) => thrown)
    await until(() => server.model.engine.stats().running === 1)
    controller.abort()
    expect(await answer).toBeInstanceOf(OpenAI.APIUserAbortError)
    expect(await until(idle)).toBeLessThan(2000)
  })

  test("when a response in the background is cancelled, or deleted", async () => {
    const cancelled = await responses.create({ ...body(), background: true })
    const deleted = await responses.create({ ...body(), background: true })
    await until(() => server.model.engine.stats().running === 2)
    expect((await responses.cancel(cancelled.id)).status).toBe("cancelled")
    await responses.delete(deleted.id)
    expect(await until(idle)).toBeLessThan(2000)
  })
})
