/** The official client with the real model, as in a user's program. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { resolveModel } from "../../src/store/resolve.ts"
import { endings, idle, serveFile, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"

let server: TestServer
let client: OpenAI
let model: string

beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 2048 })
  client = server.client
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const question = { messages: [{ role: "user" as const, content: "What is the capital of France?" }], temperature: 0 }

test("answers a question, and ends by itself", async () => {
  const { choices, usage } = await client.chat.completions.create({ model, ...question, max_completion_tokens: 64 })
  expect(choices[0]?.message.content).toContain("Paris")
  expect(choices[0]?.message.content).not.toContain("<|im_end|>")
  expect(choices[0]?.finish_reason).toBe("stop")
  expect(usage?.completion_tokens).toBeLessThan(64)
})

test("streams the same answer", async () => {
  const { choices } = await client.chat.completions.create({ model, ...question, max_tokens: 32 })
  const stream = await client.chat.completions.create({ model, ...question, max_tokens: 32, stream: true })
  const parts: string[] = []
  for await (const chunk of stream) parts.push(chunk.choices[0]?.delta.content ?? "")
  expect(parts.join("")).toBe(choices[0]?.message.content ?? "")
  expect(parts.filter((part) => part !== "").length).toBeGreaterThan(3)
})

describe("stop strings", () => {
  const count = { prompt: "1, 2, 3, 4, 5, 6, 7, 8,", temperature: 0, max_tokens: 24 }

  test.each([[" 12"], [["nowhere", ", 12"]], ["2,"]])("%j ends the text before it", async (stop) => {
    const free = await client.completions.create({ model, ...count })
    const whole = free.choices[0]?.text ?? ""
    const found = [stop].flat().find((text) => whole.includes(text)) ?? "?"
    expect(whole).toContain(found)
    const stopped = await client.completions.create({ model, ...count, stop })
    expect(stopped.choices[0]).toMatchObject({ text: whole.slice(0, whole.indexOf(found)), finish_reason: "stop" })
    const stream = await client.completions.create({ model, ...count, stop, stream: true })
    let streamed = ""
    for await (const chunk of stream) streamed += chunk.choices[0]?.text ?? ""
    expect(streamed).toBe(stopped.choices[0]?.text ?? "?")
  })

  test("that never occur change nothing", async () => {
    const free = await client.completions.create({ model, ...count })
    const stopped = await client.completions.create({ model, ...count, stop: ["never said"] })
    expect(stopped.choices[0]).toEqual(free.choices[0] as NonNullable<(typeof free.choices)[0]>)
  })
})

test("a system message changes the answer, and text parts are joined", async () => {
  const user = {
    role: "user" as const,
    content: [
      { type: "text" as const, text: "Say " },
      { type: "text" as const, text: "hello." },
    ],
  }
  const plain = await client.chat.completions.create({ model, messages: [user], temperature: 0, max_tokens: 16 })
  const joined = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Say hello." }],
    temperature: 0,
    max_tokens: 16,
  })
  expect(plain.choices[0]?.message.content).toBe(joined.choices[0]?.message.content ?? "")
  for (const role of ["system", "developer"] as const) {
    const led = await client.chat.completions.create({
      model,
      messages: [{ role, content: "You answer in French." }, user],
      temperature: 0,
      max_tokens: 16,
    })
    expect(led.usage?.prompt_tokens).not.toBe(plain.usage?.prompt_tokens)
  }
})

test("generation stops when the client disconnects mid-answer", async () => {
  await until(() => idle(server.model.engine))
  const before = await endings(server.url)
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "Tell me a very long story." }],
    ignore_eos: true,
    stream: true,
  } as OpenAI.ChatCompletionCreateParamsStreaming)
  let seen = 0
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++seen === 8) break
  await until(() => idle(server.model.engine))
  expect(await endings(server.url)).toEqual({ ...before, abort: before.abort + 1 })
})
