/** vLLM's routes beside OpenAI's. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { post as postTo, serveTiny, type TestServer } from "../support/http.ts"

let server: TestServer
beforeAll(async () => {
  server = await serveTiny({ load: { threads: 1 } })
})
afterAll(() => server[Symbol.asyncDispose]())

interface List {
  model: string
  data: { index: number; score: number; data: number[] }[]
  usage: { prompt_tokens: number }
}
const ask = async (path: string, body: object) => {
  const response = await postTo(server.url + path, body)
  return { status: response.status, body: (await response.json()) as List }
}
const vectorOf = async (input: string) => (await ask("/pooling", { input })).body.data[0]?.data ?? []
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)

test("/score compares one text with many, or pairs, by the cosine of their vectors", async () => {
  const [a, b, c] = [await vectorOf("hello"), await vectorOf("world"), await vectorOf("hello world")]
  for (const path of ["/score", "/v1/score"]) {
    const { body } = await ask(path, { text_1: "hello", text_2: ["world", "hello world", "hello"] })
    expect(body).toMatchObject({ object: "list", model: server.model.name })
    for (const [i, expected] of [dot(a, b), dot(a, c), 1].entries())
      expect(body.data[i]).toMatchObject({ index: i, object: "score", score: expect.closeTo(expected, 4) })
  }
  const pairs = await ask("/score", { queries: ["hello", "world"], documents: ["world", "world"] })
  expect(pairs.body.data.map(({ score }) => score)).toEqual([expect.closeTo(dot(a, b), 4), expect.closeTo(1, 4)])
  expect((await ask("/score", { text_1: ["a", "b"], text_2: ["c"] })).status).toBe(400)
  expect((await ask("/score", { text_1: "a" })).status).toBe(400)
})

test("/pooling gives the vectors of /v1/embeddings", async () => {
  const { data } = await server.client.embeddings.create({
    model: server.model.name,
    input: ["hello", "world"],
    encoding_format: "float",
  })
  const { body } = await ask("/pooling", { input: ["hello", "world"] })
  expect(body.data.map(({ data }) => data)).toEqual(data.map(({ embedding }) => embedding))
  expect(body.usage.prompt_tokens).toBeGreaterThan(0)
})

test("/version, /ping and /load", async () => {
  const read = async (path: string) => (await fetch(server.url + path)).json() as Promise<unknown>
  expect(await read("/version")).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+\+rocmforge/) })
  expect(await read("/load")).toEqual({ server_load: 0 })
  expect((await fetch(`${server.url}/ping`)).status).toBe(200)
  expect((await fetch(`${server.url}/ping`, { method: "POST" })).status).toBe(200)
})
