/** `/v1/embeddings` with the official client. tests/models/embeddings.test.ts verifies the vectors themselves. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { embedTokens } from "../../src/engine/prefill-only.ts"
import type { EmbeddingBody, EmbeddingResponse } from "../../src/server/apis/openai/embeddings-schema.ts"
import { idle, post as postTo, serveTiny, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"

const HIDDEN = 64
let server: TestServer
let client: OpenAI
let model: string

beforeAll(async () => {
  server = await serveTiny({ model: { hidden: HIDDEN, context_length: 4096 }, load: { maxSeqs: 2, maxQueue: 4 } })
  client = server.client
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const post = (fields: Partial<Record<keyof EmbeddingBody, unknown>>, signal?: AbortSignal) =>
  postTo(`${server.url}/v1/embeddings`, { model, input: "x", ...fields }, { signal })
const vectorOf = async (fields: Parameters<typeof post>[0]): Promise<number[]> => {
  const body = (await (await post(fields)).json()) as EmbeddingResponse
  return body.data[0]?.embedding as number[]
}
const lengthOf = (vector: readonly number[]) => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0))

test("a text, as floats and in base64 (the client's default)", async () => {
  const { tokenizer, engine } = server.model
  const tokens = tokenizer.encode("Hello", { addBos: tokenizer.addBos })
  const { vector } = await embedTokens(engine, { id: "direct", tokens, pooling: "mean" })
  const floats = await client.embeddings.create({ model, input: "Hello", encoding_format: "float" })
  expect(floats).toEqual({
    object: "list",
    data: [{ object: "embedding", index: 0, embedding: [...vector] }],
    model,
    usage: { prompt_tokens: tokens.length, total_tokens: tokens.length },
  })
  expect(lengthOf(floats.data[0]?.embedding ?? [])).toBeCloseTo(1, 6)
  expect((await client.embeddings.create({ model, input: "Hello" })).data).toEqual(floats.data)

  const encoded = await client.embeddings.create({ model, input: "Hello", encoding_format: "base64" })
  const text = encoded.data[0]?.embedding as unknown as string
  expect(typeof text).toBe("string")
  const bytes = Buffer.from(text, "base64")
  expect(Array.from({ length: HIDDEN }, (_, i) => bytes.readFloatLE(4 * i))).toEqual([...vector])
})

test("lists of texts and of ids keep their order, even beyond the queue's capacity", async () => {
  const { tokenizer } = server.model
  const ids = (text: string) => [...tokenizer.encode(text, { addBos: tokenizer.addBos })]
  const texts = Array.from({ length: 20 }, (_, i) => `text number ${i}`)
  const many = await client.embeddings.create({ model, input: texts })
  expect(many.data.map(({ index }) => index)).toEqual(texts.map((_, i) => i))
  expect(many.usage.prompt_tokens).toBe(texts.reduce((sum, text) => sum + ids(text).length, 0))
  const again = await client.embeddings.create({ model, input: texts.map(ids) })
  expect(again.data).toEqual(many.data)
  const one = await client.embeddings.create({ model, input: ids("text number 7") })
  expect(one.data[0]?.embedding).toEqual(many.data[7]?.embedding as number[])
  expect(new Set(many.data.map(({ embedding }) => embedding.join())).size).toBe(20)
})

test("token ids and texts make one input, also in a list of inputs", async () => {
  const { tokenizer } = server.model
  const ids = (text: string, addBos = false) => [...tokenizer.encode(text, { addBos })]
  const expected = await vectorOf({ input: [12, 34, ...ids("b c"), 56] })
  expect(await vectorOf({ input: [12, 34, "b c", 56] })).toEqual(expected)
  const response = await post({ input: ["abc", [12, 34, "b c", 56], ["a", 7]] })
  expect(((await response.json()) as EmbeddingResponse).data.map(({ embedding }) => embedding as number[])).toEqual([
    await vectorOf({ input: "abc" }),
    expected,
    await vectorOf({ input: [...ids("a", tokenizer.addBos), 7] }),
  ])
})

test("an empty text is the token that the model begins texts with, if there is one", async () => {
  const { tokenizer } = server.model
  expect((await post({ input: ["a", ""] })).status).toBe(400)
  const { addBos } = tokenizer
  Object.defineProperty(tokenizer, "addBos", { value: true, configurable: true, writable: true })
  try {
    expect(await vectorOf({ input: "" })).toEqual(await vectorOf({ input: [tokenizer.bosId] }))
  } finally {
    Object.defineProperty(tokenizer, "addBos", { value: addBos, configurable: true, writable: true })
  }
})

test("pooling and dimensions are applied", async () => {
  const [mean, cls, last] = await Promise.all([
    vectorOf({ input: "abc", pooling: "mean" }),
    vectorOf({ input: "abc", pooling: "cls" }),
    vectorOf({ input: "abc", pooling: "last" }),
  ])
  expect(await vectorOf({ input: "abc" })).toEqual(mean)
  expect(await vectorOf({ input: "abd", pooling: "cls" })).toEqual(cls)
  expect(await vectorOf({ input: "abd", pooling: "last" })).not.toEqual(last)
  const short = (await client.embeddings.create({ model, input: "abc", dimensions: 8 })).data[0]?.embedding ?? []
  expect(short).toHaveLength(8)
  expect(lengthOf(short)).toBeCloseTo(1, 6)
  const scale = lengthOf(mean.slice(0, 8))
  for (const [i, value] of short.entries()) expect(value).toBeCloseTo((mean[i] ?? 0) / scale, 6)
  expect(await vectorOf({ input: "abc", dimensions: HIDDEN })).toEqual(mean)
})

test("a reranking model is refused", async () => {
  await using ranker = await serveTiny({ model: { pooling_type: 4 } })
  const refused = await ranker.client.embeddings.create({ model: "tiny", input: "x" }).catch((error) => error)
  expect(refused).toMatchObject({ status: 400, param: "model", code: "unsupported_model" })
  expect(refused.message).toContain("pooling_type is 4")
})

test("the pooling in the file's metadata is the default", async () => {
  expect(server.model.config.pooling).toBeUndefined()
  server.model.config.pooling = "last"
  try {
    expect(await vectorOf({ input: "abc" })).toEqual(await vectorOf({ input: "abc", pooling: "last" }))
    expect(await vectorOf({ input: "abc" })).not.toEqual(await vectorOf({ input: "abc", pooling: "mean" }))
  } finally {
    server.model.config.pooling = undefined
  }
})

test("control tokens in a text are treated as text", async () => {
  const { tokenizer } = server.model
  const end = tokenizer.piece(tokenizer.eosId ?? -1)
  expect(await vectorOf({ input: end, pooling: "last" })).not.toEqual(
    await vectorOf({ input: [tokenizer.eosId], pooling: "last" }),
  )
})

describe("invalid fields are refused by name", () => {
  const cases: [fields: Parameters<typeof post>[0], param: string, code: string][] = [
    [{ input: "" }, "input", "invalid_value"],
    [{ input: [] }, "input", "invalid_value"],
    [{ input: ["a", []] }, "input[1]", "invalid_value"],
    [{ input: [[1, -2]] }, "input[0][1]", "invalid_value"],
    [{ input: undefined }, "input", "missing_required_parameter"],
    [{ input: { text: "a" } }, "input", "invalid_value"],
    [{ input: [-1] }, "input[0]", "invalid_value"],
    [{ input: [400] }, "input", "invalid_value"],
    [{ input: "x".repeat(5000) }, "input", "context_length_exceeded"],
    [{ dimensions: 0 }, "dimensions", "invalid_value"],
    [{ dimensions: HIDDEN + 1 }, "dimensions", "invalid_value"],
    [{ encoding_format: "hex" }, "encoding_format", "invalid_value"],
    [{ pooling: "rank" }, "pooling", "invalid_value"],
    [{ instruction: "Find it." } as object, "instruction", "unsupported_parameter"],
    [{ prompt_name: "query" } as object, "prompt_name", "unsupported_parameter"],
    [{ embd_normalize: -2 } as object, "embd_normalize", "invalid_value"],
  ]
  // The names do not contain the fields: one of them is very long.
  test.each(cases.map((one, i) => [`${i}: ${one[1]} ${one[2]}`, ...one] as const))(
    "%s",
    async (_, fields, param, code) => {
      const response = await post(fields)
      expect(response.status).toBe(400)
      expect(await response.json()).toMatchObject({ error: { type: "invalid_request_error", param, code } })
    },
  )

  test("an unknown model", async () => {
    const response = await post({ model: "other" })
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ error: { code: "model_not_found", param: "model" } })
  })
})

test("a disconnected client's texts are cancelled", async () => {
  const controller = new AbortController()
  const before = server.model.engine.stats().promptTokens
  const input = Array.from({ length: 200 }, () => "x".repeat(3000))
  const asked = post({ input }, controller.signal)
  await until(() => server.model.engine.stats().running > 0)
  controller.abort()
  expect(asked).rejects.toThrow()
  await until(() => idle(server.model.engine))
  // Some of the texts never started to run.
  const every = input.length * server.model.tokenizer.encode(input[0] ?? "").length
  expect(server.model.engine.stats().promptTokens - before).toBeLessThan(every)
})

/** Compile-time check: the body has the type that the official client declares (which decodes base64 itself). */
export const embedding = (
  body: Omit<EmbeddingResponse, "data"> & { data: (EmbeddingResponse["data"][number] & { embedding: number[] })[] },
): OpenAI.CreateEmbeddingResponse => body
