/** Log-probabilities of prompts, and scaled and cut embeddings, with the real engine and a small model of random weights. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { scoreTokens } from "../../src/engine/prefill-only.ts"
import { prepareEmbedding } from "../../src/server/chat/embed.ts"
import { post as postTo, serveTiny, type TestServer } from "../support/http.ts"
import { requester } from "./support/openai-requests.ts"
import { bosTokenizer, saying, scriptEngine, scriptModel, serveScript } from "./support/script-model.ts"

let server: TestServer
beforeAll(async () => {
  server = await serveTiny({ model: { hidden: 64, context_length: 256 }, load: { maxSeqs: 2 } })
})
afterAll(() => server[Symbol.asyncDispose]())

const post = async <T>(path: string, fields: object): Promise<T> => {
  const response = await postTo(`${server.url}/v1/${path}`, { model: server.model.name, ...fields })
  expect(response.status).toBe(200)
  return (await response.json()) as T
}

describe("prompt_logprobs", () => {
  type Scores = (Record<string, { logprob: number; rank: number | null; decoded_token: string }> | null)[]

  test.each([0, 2])("of a completion's prompts, with %d alternatives", async (top) => {
    const prompts = [
      [5, 6, 7, 8],
      [9, 10],
    ]
    const { choices } = await post<{ choices: { prompt_logprobs: Scores; text: string }[] }>("completions", {
      prompt: prompts,
      prompt_logprobs: top,
      max_tokens: 1,
    })
    for (const [i, ids] of prompts.entries()) {
      const tokens = Int32Array.from(ids)
      const { scores } = await scoreTokens(server.model.engine, { id: `direct-${i}`, tokens, top })
      const [first, ...rest] = choices[i]?.prompt_logprobs ?? []
      expect(first).toBeNull()
      expect(rest).toHaveLength(tokens.length - 1)
      for (const [at, entry] of rest.entries()) {
        const own = entry?.[tokens[at + 1] ?? 0]
        expect(own?.logprob).toBe(scores[at]?.logprob as number)
        expect(own?.decoded_token).toBe(server.model.tokenizer.decode([tokens[at + 1] ?? 0], { special: true }))
        const ranked = Object.values(entry ?? {}).filter(({ rank }) => rank !== null)
        expect(ranked.map(({ rank }) => rank).toSorted()).toEqual(Array.from({ length: top }, (_, i) => i + 1))
      }
    }
  })

  test("of a chat's prompt, beside its ids", async () => {
    const messages = [{ role: "user", content: "Hello" }]
    const fields = { messages, prompt_logprobs: 1, return_token_ids: true, max_tokens: 2 }
    const answer = await post<{ prompt_logprobs: Scores; prompt_token_ids: number[] }>("chat/completions", fields)
    const tokens = Int32Array.from(answer.prompt_token_ids)
    const { scores } = await scoreTokens(server.model.engine, { id: "direct", tokens, top: 1 })
    const own = answer.prompt_logprobs.slice(1).map((entry, at) => entry?.[tokens[at + 1] ?? 0]?.logprob as number)
    expect(own).toEqual(scores.map(({ logprob }) => logprob))
  })

  test("echo with logprobs keeps its own number of alternatives", async () => {
    const fields = { prompt: [5, 6, 7], echo: true, logprobs: 1, prompt_logprobs: 3, max_tokens: 0 }
    type Body = { choices: { logprobs: { top_logprobs: (object | null)[] }; prompt_logprobs: Scores }[] }
    const { choices } = await post<Body>("completions", fields)
    expect(choices[0]?.logprobs.top_logprobs.map((top) => top && Object.keys(top).length)).toEqual([null, 1, 1])
    expect(Object.keys(choices[0]?.prompt_logprobs[1] ?? {}).length).toBeGreaterThanOrEqual(3)
  })
})

describe("embeddings", () => {
  const embed = async (fields: object) => {
    const { data } = await post<{ data: { embedding: number[] }[] }>("embeddings", fields)
    return data.map(({ embedding }) => embedding)
  }
  const one = async (fields: object) => (await embed({ input: [5, 6, 7], ...fields }))[0] ?? []
  const norm = (vector: readonly number[], p: number) =>
    vector.reduce((sum, value) => sum + Math.abs(value) ** p, 0) ** (1 / p)
  const most = (vector: readonly number[]) => Math.max(...vector.map(Math.abs))
  const scaledTo = (vector: readonly number[], other: readonly number[], factor: number) => {
    for (const [i, value] of vector.entries()) expect(value * factor).toBeCloseTo(other[i] ?? Number.NaN, 4)
  }

  test("are scaled by the norm that a request names", async () => {
    const [unit, raw] = [await one({}), await one({ normalize: false })]
    expect(norm(unit, 2)).toBeCloseTo(1, 5)
    expect(Math.abs(norm(raw, 2) - 1)).toBeGreaterThan(0.01)
    scaledTo(unit, raw, norm(raw, 2))
    expect(await one({ embd_normalize: -1 })).toEqual(raw)
    expect(await one({ embd_normalize: 2 })).toEqual(unit)
    const sums = await one({ embd_normalize: 1 })
    expect(norm(sums, 1)).toBeCloseTo(1, 5)
    scaledTo(sums, raw, norm(raw, 1))
    expect(norm(await one({ embd_normalize: 3 }), 3)).toBeCloseTo(1, 5)
    expect(most(await one({ embd_normalize: 0 }))).toBeCloseTo(32760, 0)
  })

  test("are cut before they are scaled", async () => {
    const raw = await one({ normalize: false })
    expect(await one({ normalize: false, dimensions: 8 })).toEqual(raw.slice(0, 8))
    const short = await one({ dimensions: 8 })
    expect(norm(short, 2)).toBeCloseTo(1, 5)
    scaledTo(short, raw, norm(raw.slice(0, 8), 2))
  })

  test("the mean, the first and the last row stay what they are without a norm", async () => {
    const input = [5, 6, 7]
    const [mean, cls, last] = await Promise.all(
      ["mean", "cls", "last"].map((pooling) => one({ input, pooling, normalize: false })),
    )
    expect(await one({ input: [5], pooling: "last", normalize: false })).toEqual(cls ?? [])
    const [second] = await embed({ input: [[5, 6]], pooling: "last", normalize: false })
    const sum = (cls ?? []).map((value, i) => (value + (second?.[i] ?? 0) + (last?.[i] ?? 0)) / 3)
    scaledTo(mean ?? [], sum, 1)
  })

  test("texts are cut where a request says so", async () => {
    const ids = Array.from({ length: 300 }, (_, i) => (i % 50) + 5)
    expect(await one({ input: ids, truncate: true })).toEqual(await one({ input: ids.slice(0, 256) }))
    expect(await one({ input: ids, truncate: "START" })).toEqual(await one({ input: ids.slice(-256) }))
    expect(await one({ input: ids, truncate_prompt_tokens: -1 })).toEqual(await one({ input: ids.slice(-256) }))
    expect(await one({ input: ids, truncate_prompt_tokens: 4 })).toEqual(await one({ input: ids.slice(-4) }))
    const response = await postTo(`${server.url}/v1/embeddings`, { model: server.model.name, input: ids })
    expect(response.status).toBe(400)
  })
})

test("add_special_tokens false leaves out the beginning token", async () => {
  const parts = { tokenizer: bosTokenizer }
  await using scripted = await serveScript({ tokens: saying("x") }, {}, {}, parts)
  for (const route of ["chat/completions", "completions"] as const) {
    const to = requester(scripted, route)
    const tokens = async (fields: object) => {
      await to.ask(fields)
      return [...(to.seen()?.tokens ?? [])]
    }
    expect(await tokens({})).toEqual([256, 104, 105])
    expect(await tokens({ add_special_tokens: true })).toEqual([256, 104, 105])
    expect(await tokens({ add_special_tokens: false })).toEqual([104, 105])
  }
  const run = { id: "e", controller: new AbortController(), queue: {} }
  const model = scriptModel(scriptEngine({ tokens: [] }), "script", parts)
  const textOf = async (fields: object) => {
    const { texts } = await prepareEmbedding(model, run, { input: ["hi"], ...fields })
    return texts.map((tokens) => [...tokens])
  }
  expect(await textOf({})).toEqual([[256, 104, 105]])
  expect(await textOf({ addSpecialTokens: false })).toEqual([[104, 105]])
})
