/** The official client with the real engine and a small model of random weights, whose output is noise but reproducible. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { endings, idle, serveTiny, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"

let server: TestServer
let client: OpenAI
let model: string

beforeAll(async () => {
  server = await serveTiny({ model: { context_length: 32768 }, load: { maxSeqs: 4 } })
  client = server.client
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const ask = (content: string) => [{ role: "user" as const, content }]

test("models", async () => {
  const list = await client.models.list()
  expect(list.data.map((entry) => entry.id)).toEqual([model])
  expect(await client.models.retrieve(model)).toMatchObject({ id: model, object: "model", owned_by: "rocmforge" })
})

test("a chat completion has the same text plain and streamed", async () => {
  const request = { model, messages: ask("Hello"), max_completion_tokens: 40, seed: 7, ignore_eos: true }
  const plain = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsNonStreaming)
  expect(plain).toMatchObject({ object: "chat.completion", model })
  expect(plain.choices).toHaveLength(1)
  expect(plain.choices[0]).toMatchObject({ index: 0, finish_reason: "length", logprobs: null })
  expect(plain.usage?.completion_tokens).toBe(40)
  expect(plain.usage?.total_tokens).toBe(40 + (plain.usage?.prompt_tokens ?? 0))
  // The template's own tokens are counted as well.
  expect(plain.usage?.prompt_tokens).toBeGreaterThan("Hello".length)

  const stream = client.chat.completions.stream({
    ...request,
    stream_options: { include_usage: true },
  } as Parameters<typeof client.chat.completions.stream>[0])
  const streamed = await stream.finalChatCompletion()
  expect(streamed.choices[0]?.message.content).toBe(plain.choices[0]?.message.content ?? "")
  expect(streamed.choices[0]?.finish_reason).toBe("length")
  // The second time, the prompt's full block is in the prefix cache.
  expect(plain.usage?.prompt_tokens_details).toEqual({ cached_tokens: 0 })
  expect(streamed.usage).toEqual({
    ...plain.usage,
    prompt_tokens_details: { cached_tokens: 16 },
  } as OpenAI.CompletionUsage)
})

test("the end token ends a chat, unless ignored", async () => {
  const end = server.model.tokenizer.eosId
  const request = { model, messages: ask("Hello"), max_tokens: 5, temperature: 0, logit_bias: { [String(end)]: 100 } }
  const ended = await client.chat.completions.create(request)
  expect(ended.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "" } })
  expect(ended.usage?.completion_tokens).toBe(1)
  const ignored = await client.chat.completions.create({ ...request, ignore_eos: true } as typeof request)
  expect(ignored.choices[0]?.finish_reason).toBe("length")
  expect(ignored.usage?.completion_tokens).toBe(5)
})

describe("completions", () => {
  const completion = { model, prompt: "Once", max_tokens: 12, temperature: 0 }
  const create = (fields: object) =>
    client.completions.create({
      ...completion,
      model,
      ignore_eos: true,
      ...fields,
    } as OpenAI.CompletionCreateParamsNonStreaming)

  test("a text, its ids, and lists of both give the same completion", async () => {
    const ids = [...server.model.tokenizer.encode("Once", { special: true, addBos: server.model.tokenizer.addBos })]
    const one = await create({})
    const text = one.choices[0]?.text ?? ""
    expect(one).toMatchObject({
      object: "text_completion",
      usage: { prompt_tokens: ids.length, completion_tokens: 12 },
    })
    expect((await create({ prompt: ids })).choices[0]?.text).toBe(text)
    const many = await create({ prompt: ["Once", "Twice"], n: 2 })
    expect(many.choices.map((choice) => choice.index)).toEqual([0, 1, 2, 3])
    expect(many.choices.slice(0, 2).map((choice) => choice.text)).toEqual([text, text])
    expect((await create({ prompt: [ids, ids] })).choices.map((choice) => choice.text)).toEqual([text, text])
    expect(many.usage?.completion_tokens).toBe(48)
    const twice = await create({ prompt: "Twice" })
    expect(many.usage?.prompt_tokens).toBe(ids.length + (twice.usage?.prompt_tokens ?? 0))
  })

  test("16 tokens by default", async () => {
    expect((await create({ max_tokens: undefined })).usage?.completion_tokens).toBe(16)
  })

  test("echo, plain and streamed", async () => {
    const text = (await create({})).choices[0]?.text ?? ""
    expect((await create({ echo: true })).choices[0]?.text).toBe(`Once${text}`)
    const stream = await client.completions.create({
      ...completion,
      model,
      echo: true,
      ignore_eos: true,
      stream: true,
    } as OpenAI.CompletionCreateParamsStreaming)
    let streamed = ""
    for await (const chunk of stream) streamed += chunk.choices[0]?.text ?? ""
    expect(streamed).toBe(`Once${text}`)
  })

  test("log-probabilities: greedy picks the best, and offsets are the starts of tokens", async () => {
    const { choices } = await create({ logprobs: 3 })
    const logprobs = choices[0]?.logprobs
    expect(logprobs?.tokens).toHaveLength(12)
    let offset = 0
    logprobs?.token_logprobs?.forEach((logprob, i) => {
      const top = logprobs.top_logprobs?.[i] ?? {}
      expect(logprob).toBeLessThanOrEqual(0)
      expect(Math.max(...Object.values(top))).toBeCloseTo(logprob, 5)
      const start = logprobs.text_offset?.[i] ?? -1
      expect(start).toBeGreaterThanOrEqual(offset)
      offset = start
    })
    expect((await create({})).choices[0]?.logprobs).toBeNull()
  })
})

test("chat log-probabilities: bytes make up the text, alternatives are sorted", async () => {
  const { choices } = await client.chat.completions.create({
    model,
    messages: ask("Hi"),
    max_tokens: 10,
    temperature: 0,
    logprobs: true,
    top_logprobs: 5,
    ignore_eos: true,
  } as OpenAI.ChatCompletionCreateParamsNonStreaming)
  const content = choices[0]?.logprobs?.content ?? []
  expect(content).toHaveLength(10)
  // Control tokens have log-probabilities, but are not part of the text.
  const bytes = content.filter(({ token }) => !token.startsWith("<|")).flatMap((token) => token.bytes ?? [])
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(choices[0]?.message.content ?? "")
  for (const token of content) {
    expect(token.top_logprobs).toHaveLength(5)
    const logprobs = token.top_logprobs.map((top) => top.logprob)
    expect(logprobs).toEqual([...logprobs].sort((a, b) => b - a))
    expect(token.top_logprobs[0]).toEqual({ token: token.token, logprob: token.logprob, bytes: token.bytes })
  }
})

test("a seed reproduces a text, another seed changes it, and choice 0 of several equals a single choice", async () => {
  const run = async (fields: object) => {
    const request = { model, messages: ask("Hi"), max_tokens: 24, ignore_eos: true, ...fields }
    const answer = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsNonStreaming)
    return answer.choices.map((choice) => choice.message.content)
  }
  const first = await run({ seed: 1 })
  expect(await run({ seed: 1 })).toEqual(first)
  expect(await run({ seed: -1 })).not.toEqual(first)
  expect(await run({})).not.toEqual(await run({}))
  const three = await run({ seed: 1, n: 3 })
  expect(three[0]).toBe(first[0] ?? "")
  expect(new Set(three).size).toBe(3)
})

test("128 choices, computed four at a time, differ from each other", async () => {
  const request = { model, messages: ask("Hi"), max_tokens: 6, seed: 1, ignore_eos: true, n: 128 }
  const answer = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsNonStreaming)
  expect(answer.choices.map(({ index }) => index)).toEqual(Array.from({ length: 128 }, (_, i) => i))
  expect(answer.usage?.completion_tokens).toBe(6 * 128)
  expect(new Set(answer.choices.map((choice) => choice.message.content)).size).toBeGreaterThan(100)
  expect(idle(server.model.engine)).toBe(true)
})

test("16 different concurrent requests each get the same text as alone", async () => {
  const requests = Array.from({ length: 16 }, (_, i) => ({
    model,
    messages: ask("x".repeat(1 + 13 * i)),
    max_tokens: 8 + 3 * i,
    temperature: i % 3 === 0 ? 0 : 1,
    seed: i,
    ignore_eos: true,
    ...(i % 4 === 1 ? { top_k: 20 } : i % 4 === 2 ? { top_p: 0.9 } : { repetition_penalty: 1.2 }),
  }))
  const run = async (request: object) => {
    const answer = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsNonStreaming)
    return { text: answer.choices[0]?.message.content, tokens: answer.usage?.completion_tokens }
  }
  const alone: object[] = []
  for (const request of requests) alone.push(await run(request))
  expect(await Promise.all(requests.map(run))).toEqual(alone as never)
  expect(idle(server.model.engine)).toBe(true)
})

describe("a client that disconnects", () => {
  const settled = () => until(() => idle(server.model.engine))

  test.each([1, 4])("mid-stream: %i choices stop and their blocks are freed", async (n) => {
    await settled()
    const before = await endings(server.url)
    const request = { model, messages: ask("Hi"), max_tokens: 30000, n, ignore_eos: true, stream: true }
    const stream = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsStreaming)
    let seen = 0
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++seen === 8) break
    await settled()
    // The request was aborted, and none of its choices reached max_tokens.
    expect(await endings(server.url)).toEqual({ ...before, abort: before.abort + 1 })
  })

  test("while waiting in the queue: it never runs", async () => {
    await settled()
    const before = await endings(server.url)
    const request = { model, messages: ask("Hi"), max_tokens: 30000, n: 4, ignore_eos: true, stream: true }
    const stream = await client.chat.completions.create(request as OpenAI.ChatCompletionCreateParamsStreaming)
    await until(() => server.model.engine.stats().running === 4)
    const begun = server.model.engine.stats().promptTokens
    const controller = new AbortController()
    const queued = client.chat.completions
      .create({ model, messages: ask("later") }, { signal: controller.signal })
      .catch((thrown) => thrown)
    await until(() => server.model.engine.stats().waiting === 1)
    controller.abort()
    await queued
    await until(() => server.model.engine.stats().waiting === 0)
    // It left the queue while the others ran, and its prompt was never computed.
    expect(server.model.engine.stats()).toMatchObject({ running: 4, promptTokens: begun })
    stream.controller.abort()
    await settled()
    expect(await endings(server.url)).toEqual({ ...before, abort: before.abort + 2 })
  })
})
