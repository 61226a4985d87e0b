/** llama-server's own routes over sockets, and timings in chat answers. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { MersenneTwister } from "../../src/engine/mersenne.ts"
import { post as postTo, serveTiny, type TestServer } from "../support/http.ts"

const SLOTS = 2
const CONTEXT = 128
let server: TestServer

beforeAll(async () => {
  server = await serveTiny({
    model: { context_length: CONTEXT },
    load: { threads: 1, maxSeqs: SLOTS, batchSize: 16 },
    server: { llamaDefaults: { seed: 42, n_predict: 12 } },
  })
})
afterAll(() => server[Symbol.asyncDispose]())

type Body = Record<string, unknown>

async function send(path: string, body?: object): Promise<{ status: number; body: Body }> {
  const response = body === undefined ? await fetch(server.url + path) : await postTo(server.url + path, body)
  return { status: response.status, body: (await response.json()) as Body }
}
async function ok(path: string, body?: object): Promise<Body> {
  const answer = await send(path, body)
  expect(answer).toMatchObject({ status: 200 })
  return answer.body
}
/** The events of a stream. */
async function events(path: string, body: object): Promise<Body[]> {
  const text = await (await postTo(server.url + path, { ...body, stream: true })).text()
  const lines = text.split("\n").filter((line) => line.startsWith("data: {"))
  return lines.map((line) => JSON.parse(line.slice(6)) as Body)
}
const prompt = "hello hello hello"
const ids = (text: string): number[] => {
  const { tokenizer } = server.model
  return [...tokenizer.encode(text, { addBos: tokenizer.addBos, special: true })]
}

describe("/completion", () => {
  test("an answer with llama-server's fields and defaults", async () => {
    const nPrompt = ids(prompt).length
    const answer = await ok("/completion", { prompt, cache_prompt: false, id_slot: 1 })
    expect(answer).toMatchObject({
      index: 0,
      id_slot: 1,
      stop: true,
      model: server.model.name,
      tokens: [],
      tokens_evaluated: nPrompt,
      tokens_cached: 0,
      truncated: false,
      stopping_word: "",
      prompt: server.model.tokenizer.decode(ids(prompt), { special: true }),
      generation_settings: { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, seed: 42, n_predict: 12 },
      timings: { prompt_n: nPrompt, cache_n: 0, predicted_n: answer.tokens_predicted },
    })
    expect(answer.completion_probabilities).toBeUndefined()
    // The same seed, and so the same text, also at the other path.
    const again = await ok("/completions", { prompt, return_tokens: true })
    expect(again.content).toBe(answer.content as string)
    expect((again.tokens as number[]).length).toBe(answer.tokens_predicted as number)
  })

  test("a stream's parts join to the text, and the last one has what a whole answer has", async () => {
    const whole = await ok("/completion", { prompt, n_predict: 8, ignore_eos: true })
    const parts = await events("/completion", { prompt, n_predict: 8, ignore_eos: true })
    expect(parts.map(({ content }) => content).join("")).toBe(whole.content as string)
    expect(parts.map(({ stop }) => stop)).toEqual([...parts.slice(1).map(() => false), true])
    expect(parts.at(-1)).toMatchObject({ stop_type: "limit", tokens_predicted: 8, timings: { predicted_n: 8 } })
    expect(parts[0]).toMatchObject({ tokens: [expect.any(Number)], tokens_evaluated: ids(prompt).length })
  })

  test("progress of a prompt that takes several steps", async () => {
    const long = "hello ".repeat(12)
    const total = ids(long).length
    const parts = await events("/completion", {
      prompt: long,
      n_predict: 2,
      cache_prompt: false,
      return_progress: true,
      timings_per_token: true,
    })
    const progress = parts.flatMap(({ prompt_progress }) => (prompt_progress ? [prompt_progress as Body] : []))
    expect(progress[0]).toMatchObject({ total, cache: 0, processed: 0, time_ms: 0 })
    expect(progress.at(-1)).toMatchObject({ total, cache: 0, processed: total })
    expect(progress.length).toBe(1 + Math.ceil(total / 16))
    expect(parts[0]).toMatchObject({ timings: { prompt_n: 0, prompt_ms: 0, predicted_n: 0 } })
    expect(parts.find(({ tokens }) => (tokens as number[]).length > 0)).toMatchObject({ timings: { predicted_n: 1 } })
  })

  test("every form of prompt, and several at once", async () => {
    const tokens = ids(prompt)
    const one = await ok("/completion", { prompt, temperature: 0 })
    const forms = [prompt, tokens, { prompt_string: prompt }]
    const many = (await ok("/completion", { prompt: forms, temperature: 0 })) as unknown as Body[]
    expect(many.map(({ index, content }) => ({ index, content }))).toEqual(
      forms.map((_, index) => ({ index, content: one.content })),
    )
    const mixed = await ok("/completion", { prompt: [...tokens, "hello"], temperature: 0, n_cmpl: 2 })
    expect((mixed as unknown as Body[]).map(({ tokens_evaluated }) => tokens_evaluated)).toEqual([
      tokens.length + server.model.tokenizer.encode("hello", { special: true }).length,
      tokens.length + server.model.tokenizer.encode("hello", { special: true }).length,
    ])
    for (const wrong of [{}, [], [{}], 5, [[-1]], { prompt_string: prompt, multimodal_data: ["AAAA"] }])
      expect((await send("/completion", { prompt: wrong })).status).toBeGreaterThanOrEqual(400)
  })

  test("probabilities before and after sampling", async () => {
    const asked = { prompt, n_predict: 3, n_probs: 4, ignore_eos: true }
    const before = (await ok("/completion", { ...asked, temperature: 0 })).completion_probabilities as Body[]
    expect(before.length).toBe(3)
    for (const token of before) {
      expect(Object.keys(token)).toEqual(["id", "token", "bytes", "logprob", "top_logprobs"])
      expect((token.top_logprobs as Body[]).length).toBe(4)
      expect(token.logprob).toBe((token.top_logprobs as Body[])[0]?.logprob as number)
    }
    const after = await ok("/completion", {
      ...asked,
      temperature: 1,
      top_k: 4,
      top_p: 1,
      min_p: 0,
      post_sampling_probs: true,
    })
    for (const token of after.completion_probabilities as Body[]) {
      const probs = (token.top_probs as Body[]).map(({ prob }) => prob as number)
      expect(probs.reduce((sum, prob) => sum + prob, 0)).toBeCloseTo(1, 5)
      expect(probs).toContain(token.prob as number)
    }
    expect(
      (await send("/completion", { ...asked, post_sampling_probs: true, repeat_penalty: 1.5 })).body,
    ).toMatchObject({
      error: { code: 400, message: expect.stringContaining("repeat_penalty") },
    })
    expect((await send("/completion", { ...asked, n_probs: 21 })).status).toBe(400)
  })

  test("the token that llama-server's random numbers choose, most probable first", async () => {
    for (let seed = 0; seed < 20; seed++) {
      const fields = {
        seed,
        n_predict: 1,
        top_k: 4,
        temperature: 1.5,
        ignore_eos: true,
        n_probs: 4,
        post_sampling_probs: true,
      }
      const answer = await ok("/completion", { prompt, return_tokens: true, ...fields })
      const [{ top_probs = [] } = {}] = answer.completion_probabilities as {
        top_probs?: { id: number; prob: number }[]
      }[]
      const u = Number(new MersenneTwister(BigInt(seed)).at(0)) / 2 ** 64
      let seen = 0
      const chosen = top_probs.find(({ prob }) => {
        seen += prob
        return seen > u
      })
      expect(answer.tokens).toEqual([chosen?.id ?? -1])
    }
  })

  test("biases by token, by text and as an object; excluded end tokens are reported", async () => {
    const first = async (fields: object) => {
      const answer = await ok("/completion", { prompt, n_predict: 1, temperature: 0, return_tokens: true, ...fields })
      return (answer.tokens as number[])[0]
    }
    const token = await first({ ignore_eos: true })
    const banned = [{ logit_bias: [[token, false]] }, { logit_bias: { [String(token)]: -1000 } }]
    for (const fields of banned) expect(await first({ ...fields, ignore_eos: true })).not.toBe(token)
    const word = server.model.tokenizer.encode("z")[0] as number
    expect(await first({ logit_bias: [["z", 1000]] })).toBe(word)
    const { generation_settings: settings } = await ok("/completion", { prompt, ignore_eos: true, n_predict: 1 })
    const ends = [...server.model.tokenizer.eogIds].map((end) => ({ token: end, bias: null }))
    expect((settings as Body).logit_bias).toEqual(ends)
    expect((await send("/completion", { prompt, logit_bias: [[1.5, 1]] })).status).toBe(400)
  })

  test("a grammar, a schema, stop words, and limits of time and indentation", async () => {
    const grammar = await ok("/completion", { prompt, grammar: 'root ::= "a"{5,5}', n_predict: 8 })
    expect(grammar).toMatchObject({ content: "aaaaa", stop_type: "eos" })
    expect((await ok("/completion", { prompt, json_schema: { const: "42" } })).content).toBe('"42"')
    const word = await ok("/completion", { prompt, grammar: 'root ::= "abcdef"', stop: ["cd"] })
    expect(word).toMatchObject({ content: "ab", stop_type: "word", stopping_word: "cd" })
    const indented = await ok("/completion", { prompt, grammar: 'root ::= "  a\\n  b\\nc" [a-z]*', n_indent: 2 })
    expect(indented).toMatchObject({ content: "  a\n  b\n", stop_type: "limit" })
    expect((await send("/completion", { prompt, grammar: "root ::= (" })).body).toMatchObject({
      error: { code: 400, type: "invalid_request_error" },
    })
  })

  test("chosen fields of the answer, and no token at all", async () => {
    const response_fields = ["content", "generation_settings/n_predict", "missing"]
    const answer = await ok("/completion", { prompt, n_predict: 0, response_fields })
    expect(answer).toEqual({ content: "", "generation_settings/n_predict": 0 })
  })

  test("a prompt that is too long, in llama-server's words", async () => {
    const { body } = await send("/completion", { prompt: "hello ".repeat(300) })
    expect(body).toEqual({
      error: {
        code: 400,
        message: expect.stringContaining("exceeds the available context size"),
        type: "exceed_context_size_error",
        n_prompt_tokens: expect.any(Number),
        n_ctx: CONTEXT,
      },
    })
  })
})

test("the context's end is reported as a truncated answer", async () => {
  const answer = await ok("/completion", { prompt, n_predict: -1, ignore_eos: true })
  const tokens = CONTEXT - ids(prompt).length
  expect(answer).toMatchObject({ truncated: true, stop_type: "limit", tokens_predicted: tokens })
})

test("a model without tokens for gaps fills none", async () => {
  const { status, body } = await send("/infill", { input_prefix: "a", input_suffix: "b" })
  expect({ status, body }).toMatchObject({ status: 501, body: { error: { code: 501, type: "not_supported_error" } } })
  expect((await send("/infill", { input_prefix: "a", input_suffix: "b", input_extra: [{ filename: 1 }] })).status).toBe(
    400,
  )
})

describe("about the server", () => {
  test("/props, /slots, /lora-adapters and /models", async () => {
    expect(await ok("/props")).toMatchObject({
      default_generation_settings: { n_ctx: CONTEXT, params: { temperature: 0.8, seed: 42, n_predict: 12 } },
      total_slots: SLOTS,
      model_path: server.model.path,
      build_info: expect.stringMatching(/^b\d/),
      is_sleeping: false,
    })
    const slots = (await ok("/slots?fail_on_no_slot=1")) as unknown as Body[]
    expect(slots.map(({ id, n_ctx, is_processing }) => [id, n_ctx, is_processing])).toEqual([
      [0, CONTEXT, false],
      [1, CONTEXT, false],
    ])
    expect((await ok("/lora-adapters")) as unknown).toEqual([])
    expect(await ok("/lora-adapters", [])).toEqual({ success: true })
    expect((await send("/lora-adapters", [{ id: 0, scale: 1 }])).status).toBe(400)
    expect(await ok("/models")).toMatchObject({
      data: [
        { id: server.model.name, aliases: [server.model.name], status: { value: "loaded" }, meta: { n_ctx: CONTEXT } },
      ],
    })
  })

  test("what needs slots or changes properties is a 501", async () => {
    for (const path of ["/slots/0?action=save", "/slots/0?action=restore", "/slots/0?action=erase", "/props"])
      expect(await send(path, {})).toMatchObject({ status: 501, body: { error: { type: "not_supported_error" } } })
  })

  test("metrics under llama-server's names", async () => {
    const read = async () => {
      const response = await fetch(`${server.url}/metrics`)
      expect(Number(response.headers.get("process-start-time-unix"))).toBeGreaterThan(0)
      const text = await response.text()
      return (name: string) => Number(new RegExp(`^llamacpp:${name} (\\S+)$`, "m").exec(text)?.[1])
    }
    const before = await read()
    const { timings } = await ok("/completion", { prompt, n_predict: 4, ignore_eos: true, cache_prompt: false })
    const after = await read()
    const grown = (name: string) => after(name) - before(name)
    expect(grown("prompt_tokens_total")).toBe((timings as Body).prompt_n as number)
    expect(grown("tokens_predicted_total")).toBe(4)
    expect(grown("n_decode_total")).toBeGreaterThanOrEqual(4)
    expect(after("requests_processing")).toBe(0)
  })
})

describe("/embedding and ranking", () => {
  test("vectors as a list of lists, under every norm", async () => {
    const [{ embedding: [vector] = [] } = {}] = (await ok("/embedding", { content: prompt })) as unknown as {
      embedding: number[][]
    }[]
    const length = (values: readonly number[] = [], p = 2) =>
      values.reduce((sum, x) => sum + Math.abs(x) ** p, 0) ** (1 / p)
    expect(length(vector)).toBeCloseTo(1, 5)
    const sum = (await ok("/embeddings", { input: [prompt, ids(prompt)], embd_normalize: 1 })) as unknown as {
      index: number
      embedding: number[][]
    }[]
    expect(sum.map(({ index }) => index)).toEqual([0, 1])
    expect(length(sum[0]?.embedding[0], 1)).toBeCloseTo(1, 5)
    expect(sum[0]?.embedding).toEqual(sum[1]?.embedding)
    const most = (await ok("/embedding", { content: prompt, embd_normalize: 0 })) as unknown as {
      embedding: number[][]
    }[]
    expect(Math.max(...(most[0]?.embedding[0] ?? []).map(Math.abs))).toBeCloseTo(32760, 1)
  })

  test("a model that does not rank says so", async () => {
    for (const path of ["/rerank", "/reranking", "/v1/rerank", "/v1/reranking"])
      expect(await send(path, { query: "a", documents: ["b"] })).toMatchObject({
        status: 501,
        body: { error: { type: "not_supported_error" } },
      })
    for (const documents of [[], null, 123, [1]])
      expect((await send("/rerank", { query: "a", documents })).status).toBe(400)
  })
})

test("a model with a head for it ranks texts, the best one first", async () => {
  const shape = { context_length: 64, pooling_type: 4 }
  await using one = await serveTiny({ model: { ...shape, rank_scores: 1 }, load: { threads: 1 } })
  await using two = await serveTiny({ model: { ...shape, rank_scores: 2 }, load: { threads: 1 } })
  const documents = ["hello", "world", "hello world"]
  const ask = async (url: string, path: string, body: object) =>
    (await (await postTo(url + path, body)).json()) as {
      results: { index: number; relevance_score: number }[]
      usage: Body
    }
  for (const { url, model } of [one, two]) {
    const { results, usage } = await ask(url, "/rerank", { query: "hi", documents })
    const scores = results.map(({ relevance_score }) => relevance_score)
    expect(scores).toEqual([...scores].sort((a, b) => b - a))
    expect(new Set(results.map(({ index }) => index))).toEqual(new Set([0, 1, 2]))
    expect(usage.prompt_tokens).toBeGreaterThan(documents.length)
    // Each pair alone has the score that it has among others.
    const alone = await ask(url, "/v1/rerank", { query: "hi", documents: [documents[1]] })
    const among = results.find(({ index }) => index === 1)?.relevance_score ?? Number.NaN
    expect(alone.results[0]?.relevance_score).toBeCloseTo(among, 5)
    const best = await ask(url, "/rerank", { query: "hi", texts: documents, top_n: 1, return_text: true })
    expect(best as unknown).toEqual([
      { index: results[0]?.index, score: scores[0], text: documents[results[0]?.index ?? -1] },
    ])
    expect((await postTo(`${url}/v1/embeddings`, { model: model.name, input: "x" })).status).toBe(400)
  }
  // The probability of the first of two outputs.
  const { results } = await ask(two.url, "/rerank", { query: "hi", documents })
  for (const { relevance_score } of results) {
    expect(relevance_score).toBeGreaterThan(0)
    expect(relevance_score).toBeLessThan(1)
  }
})

test("a vector for each token, where the model's file has no pooling", async () => {
  await using plain = await serveTiny({ model: { hidden: 64, pooling_type: 0 }, load: { threads: 1 } })
  const { tokenizer } = plain.model
  const [{ embedding }] = (await (await postTo(`${plain.url}/embeddings`, { content: "hello" })).json()) as [
    { embedding: number[][] },
  ]
  expect(embedding.length).toBe(tokenizer.encode("hello", { addBos: tokenizer.addBos }).length)
  for (const row of embedding) expect(row.length).toBe(64)
})

describe("chat", () => {
  const messages = [{ role: "user", content: "hi" }]

  test("timings and __verbose, at both paths", async () => {
    for (const path of ["/v1/chat/completions", "/chat/completions"]) {
      const answer = await ok(path, { messages, max_tokens: 4, verbose: true })
      const { completion_tokens: predicted_n } = answer.usage as Body
      expect(answer).toMatchObject({
        timings: { predicted_n, prompt_ms: expect.any(Number) },
        __verbose: { prompt: expect.stringContaining("hi"), tokens_predicted: predicted_n },
      })
    }
    expect(await ok("/chat/completions", { messages, max_tokens: 1 })).not.toHaveProperty("__verbose")
  })

  test("progress and timings in a stream", async () => {
    const fields = { timings_per_token: true, return_progress: true, stream_options: { include_usage: true } }
    const chunks = await events("/chat/completions", { messages, max_tokens: 3, ...fields })
    expect(chunks[0]).toMatchObject({ choices: [{ delta: { role: "assistant", content: null } }] })
    expect(chunks[0]).not.toHaveProperty("timings")
    const progress = chunks.flatMap(({ prompt_progress }) => (prompt_progress ? [prompt_progress as Body] : []))
    const { prompt_tokens: total } = (chunks.at(-1)?.usage ?? {}) as Body
    expect(progress.at(-1)).toMatchObject({ total, processed: total })
    expect(chunks.at(-1)).toMatchObject({ choices: [], timings: { predicted_n: expect.any(Number) } })
  })

  test("errors have the shape of the path", async () => {
    const long = [{ role: "user", content: "hello ".repeat(300) }]
    expect((await send("/chat/completions", { messages: long })).body).toMatchObject({
      error: { code: 400, type: "exceed_context_size_error", n_ctx: CONTEXT },
    })
    expect((await send("/v1/chat/completions", { messages: long })).body).toMatchObject({
      error: { type: "invalid_request_error", code: "context_length_exceeded" },
    })
  })

  test("an assistant's message at the end is continued at llama-server's path", async () => {
    const begun = [...messages, { role: "assistant", content: "I am" }]
    const { __verbose: verbose } = await ok("/chat/completions", { messages: begun, max_tokens: 1, verbose: true })
    expect((verbose as Body).prompt).toEndWith("I am")
    const twice = [...begun, { role: "assistant", content: "here" }]
    expect((await send("/chat/completions", { messages: twice })).status).toBe(400)
  })

  test("text parts are lines at llama-server's path, and paragraphs in the beginning of the answer", async () => {
    const parts = ["first", "second"].map((text) => ({ type: "text", text }))
    const promptOf = async (path: string, messages: object[]) => {
      const { __verbose: verbose } = await ok(path, { messages, max_tokens: 1, verbose: true })
      return (verbose as Body).prompt
    }
    const asked = [{ role: "user", content: parts }]
    expect(await promptOf("/chat/completions", asked)).toContain("first\nsecond")
    expect(await promptOf("/v1/chat/completions", asked)).toContain("firstsecond")
    const begun = [...asked, { role: "assistant", content: parts }]
    expect(await promptOf("/chat/completions", begun)).toEndWith("first\n\nsecond")
  })

  test("the number of a conversation's tokens", async () => {
    const { usage } = await ok("/chat/completions", { messages, max_tokens: 1 })
    for (const path of ["/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"])
      expect(await ok(path, { messages })).toMatchObject({ input_tokens: (usage as Body).prompt_tokens })
  })
})
