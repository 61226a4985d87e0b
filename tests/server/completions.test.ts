/** `/v1/completions` with the official client: best_of, prompt log-probabilities, stop strings, and suffixes. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { GREEDY } from "../../src/engine/types.ts"
import { CompletionLogprobsWriter } from "../../src/server/apis/openai/logprobs.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../src/text/tokenizer/tokenizer.ts"
import { serveFile, serveTiny, type TestServer } from "../support/http.ts"
import { withTinyModel } from "../support/tiny-model.ts"
import { saying, serveScript } from "./support/script-model.ts"

/** One server shared by the tests that need no settings of their own. */
let server: TestServer
beforeAll(async () => {
  server = await serveTiny({ load: { maxSeqs: 8 } })
})
afterAll(() => server[Symbol.asyncDispose]())

describe("best_of", () => {
  const create = (fields: object) =>
    server.client.completions.create({
      model: server.model.name,
      prompt: "Once",
      max_tokens: 6,
      seed: 3,
      ignore_eos: true,
      ...fields,
    } as OpenAI.CompletionCreateParamsNonStreaming)
  const mean = (choice: OpenAI.CompletionChoice | undefined) => {
    const scores = choice?.logprobs?.token_logprobs ?? []
    return scores.reduce((sum, score) => sum + score, 0) / scores.length
  }

  test("returns the likeliest choices, and counts the tokens of all", async () => {
    const all = await create({ n: 6, logprobs: 0 })
    const ranked = [...all.choices].sort((a, b) => mean(b) - mean(a)).map(({ text }) => text)
    // The choices differ; otherwise their order would prove nothing.
    expect(new Set(ranked).size).toBe(6)
    const two = await create({ n: 2, best_of: 6 })
    expect(two.choices.map(({ text }) => text)).toEqual(ranked.slice(0, 2))
    expect(two.choices.map(({ index, logprobs }) => [index, logprobs])).toEqual([
      [0, null],
      [1, null],
    ])
    expect(two.usage?.completion_tokens).toBe(36)
  })

  test("ranks the choices of each prompt, with log-probabilities if requested", async () => {
    const { choices } = await create({ prompt: ["Once", "Twice"], best_of: 4, logprobs: 1 })
    for (const [i, prompt] of ["Once", "Twice"].entries()) {
      const all = await create({ prompt, n: 4, logprobs: 1 })
      const [first] = [...all.choices].sort((a, b) => mean(b) - mean(a))
      expect(choices[i]).toEqual({ ...first, index: i } as OpenAI.CompletionChoice)
    }
  })

  test("equal to n returns every choice, plain and streamed", async () => {
    const { choices } = await create({ n: 2, best_of: 2 })
    expect(choices.map(({ text }) => text)).toEqual((await create({ n: 2 })).choices.map(({ text }) => text))
    const stream = await server.client.completions.create({
      model: server.model.name,
      prompt: "Once",
      max_tokens: 6,
      seed: 3,
      n: 2,
      best_of: 2,
      stream: true,
    })
    const texts = ["", ""]
    for await (const chunk of stream) for (const { index, text } of chunk.choices) texts[index] += text
    expect(texts.every((text) => text !== "")).toBe(true)
  })
})

const FIM = ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>"]
const metadata = new Map<string, unknown>([
  ["tokenizer.ggml.model", "gpt2"],
  ["tokenizer.ggml.pre", "gpt-2"],
  ["tokenizer.ggml.tokens", [...BYTE_TO_CHAR, "<|begin|>", "<|im_end|>", ...FIM]],
  ["tokenizer.ggml.token_type", [...BYTE_TO_CHAR.map(() => 1), ...Array(6).fill(3)]],
  ["tokenizer.ggml.merges", []],
  ["tokenizer.ggml.bos_token_id", 256],
  ["tokenizer.ggml.eos_token_id", 257],
  ["tokenizer.ggml.add_bos_token", true],
])
/** A vocabulary of bytes, a BOS token, and the tokens for fill-in-the-middle. */
const beginning = tokenizerFromMetadata((key) => metadata.get(key))

describe("echo with logprobs", () => {
  const create = (fields: object) =>
    server.client.completions.create({
      model: server.model.name,
      temperature: 0,
      echo: true,
      logprobs: 1,
      ...fields,
    } as OpenAI.CompletionCreateParamsNonStreaming)

  test("gives prompt tokens the same log-probabilities as when they were generated", async () => {
    const { tokenizer, engine } = server.model
    const prompt = tokenizer.encode("Once upon a time", { addBos: tokenizer.addBos })
    const ids = [...prompt]
    const request = { id: "said", tokens: prompt, sampling: GREEDY, maxTokens: 20, stopTokens: new Set<number>() }
    for await (const event of engine.generate(request)) if (event.type === "token") ids.push(event.token)
    const said = await create({ prompt: [...prompt], max_tokens: 20, ignore_eos: true })
    expect(said.usage).toMatchObject({
      prompt_tokens: prompt.length,
      completion_tokens: 20,
      prompt_tokens_details: { cached_tokens: 0 },
    })
    const read = await create({ prompt: ids, max_tokens: 0 })
    expect(read.choices[0]).toMatchObject({ finish_reason: "length" })
    expect(read.usage).toMatchObject({ prompt_tokens: ids.length, completion_tokens: 0, total_tokens: ids.length })
    // The values are bit-identical for every chunk size.
    const { text_offset: _, ...scores } = said.choices[0]?.logprobs ?? {}
    expect(read.choices[0]?.logprobs).toMatchObject(scores)
    expect(scores.token_logprobs).toHaveLength(ids.length)
    expect([scores.token_logprobs?.[0], scores.top_logprobs?.[0]]).toEqual([null, null] as never)
  })

  test("gives each token's text offset", async () => {
    const { choices } = await create({ prompt: "Hello, you there", max_tokens: 0 })
    const { text, logprobs } = choices[0] ?? {}
    expect(text).toBe("Hello, you there")
    const { tokens = [], text_offset = [] } = logprobs ?? {}
    expect(text_offset.map((start, i) => text?.slice(start, text_offset[i + 1]))).toEqual(tokens)

    // The BOS token is not part of the text.
    const writer = new CompletionLogprobsWriter(beginning)
    const score = { logprob: -1, top: [] }
    const { tokens: written, text_offset: starts } = writer.takePrompt(Int32Array.of(256, 97, 98), [score, score], "ab")
    expect([written, starts]).toEqual([
      ["<|begin|>", "a", "b"],
      [0, 0, 1],
    ])
    expect(writer.take([{ token: 99, logprobs: score }]).text_offset).toEqual([2])
  })

  test("works for several prompts and choices, and streamed", async () => {
    const prompts = ["Once", "Twice upon", "T"]
    const fields = { prompt: prompts, n: 2, max_tokens: 4, temperature: 1, seed: 5 }
    const whole = await create(fields)
    expect(whole.choices.map(({ text }, i) => text.startsWith(prompts[i >> 1] ?? "?"))).toEqual(Array(6).fill(true))
    for (const [i, prompt] of prompts.entries())
      expect((await create({ ...fields, prompt })).choices[1]?.logprobs).toEqual(
        whole.choices[2 * i + 1]?.logprobs as never,
      )

    for (const max_tokens of [4, 0]) {
      const { choices } = await create({ ...fields, max_tokens })
      const stream = (await create({
        ...fields,
        max_tokens,
        stream: true,
      })) as unknown as AsyncIterable<OpenAI.Completion>
      const streamed = choices.map(() => ({ text: "", scores: [] as (number | null)[], offsets: [] as number[] }))
      for await (const chunk of stream)
        for (const { index, text, logprobs } of chunk.choices) {
          const choice = streamed[index]
          if (choice === undefined) continue
          choice.text += text
          choice.scores.push(...(logprobs?.token_logprobs ?? []))
          choice.offsets.push(...(logprobs?.text_offset ?? []))
        }
      expect(streamed).toEqual(
        choices.map(({ text, logprobs }) => ({
          text,
          scores: logprobs?.token_logprobs ?? [],
          offsets: logprobs?.text_offset ?? [],
        })),
      )
    }
  })

  test("counts a token after the prompt that ends the text", async () => {
    await using script = await serveScript({ tokens: saying("") })
    const { client } = script
    const request = { model: "script", prompt: [104], max_tokens: 1, logprobs: 0 }
    const echoed = await client.completions.create({ ...request, echo: true })
    expect(echoed.choices[0]).toMatchObject({ text: "h", logprobs: { token_logprobs: [null, -0.5] } as never })
    const plain = await client.completions.create(request)
    expect(plain.choices[0]?.logprobs?.token_logprobs).toEqual([])
  })

  test("without echo, max_tokens 0 gives an empty text", async () => {
    const { choices, usage } = await create({ prompt: "x", max_tokens: 0, echo: false })
    expect(choices[0]).toMatchObject({ text: "", finish_reason: "length" })
    expect(usage?.completion_tokens).toBe(0)
  })

  test.each([
    [{ suffix: "x" }, "suffix"],
    [{ logprobs: 21 }, "logprobs"],
  ])("refuses %j", async (fields, param) => {
    const error = await create({ prompt: "x", ...fields }).catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 400, param })
  })
})

describe("choices with stop strings", () => {
  test("share one request, and each ends where it would alone", async () => {
    const { model, client } = server
    const body = { model: model.name, prompt: "Once", max_tokens: 60, temperature: 1.2, seed: 9, stop: ["a", "e", "o"] }
    const { choices, usage } = await client.completions.create({ ...body, n: 4 })
    const alone = await Promise.all(choices.map((_, i) => client.completions.create({ ...body, seed: body.seed + i })))
    expect(choices.map(({ text, finish_reason }) => [text, finish_reason])).toEqual(
      alone.map(({ choices: [choice] }) => [choice?.text, choice?.finish_reason] as never),
    )
    expect(choices.map(({ finish_reason }) => finish_reason)).toContain("stop")
    // Each choice stops soon after its stop string.
    const heard = alone.reduce((sum, { usage }) => sum + (usage?.completion_tokens ?? 0), 0)
    expect(usage?.completion_tokens).toBeWithin(heard - 4, heard + 5)
    expect(model.engine.stats()).toMatchObject({ running: 0, waiting: 0 })

    await using script = await serveScript({ tokens: saying("abc") })
    const said = await script.client.completions.create({ model: "script", prompt: ["x", "y"], n: 3, stop: "c" })
    expect(said.choices.map(({ text }) => text)).toEqual(Array(6).fill("ab"))
    expect(script.engine.requests.map(({ n }) => n)).toEqual([3, 3])
    expect([script.engine.running, script.engine.cancelled]).toEqual([0, 6])
  })
})

describe("min_tokens", () => {
  test("suppresses the end token before the minimum, also in speculative decoding", async () => {
    await using file = await withTinyModel()
    for (const speculative of ["off", "ngram"] as const) {
      await using server = await serveFile(file.path, { speculative })
      const ends = Object.fromEntries([...server.model.tokenizer.eogIds].map((id) => [id, 100]))
      const body = { model: server.model.name, prompt: "Once", max_tokens: 40, temperature: 0, logit_bias: ends }
      for (const min_tokens of [0, 1, 12, 40]) {
        const { choices, usage } = await server.client.completions.create({ ...body, min_tokens } as typeof body)
        const [count, reason] = min_tokens === 40 ? [40, "length"] : [min_tokens + 1, "stop"]
        expect([usage?.completion_tokens, choices[0]?.finish_reason]).toEqual([count, reason as never])
      }
      const error = await server.client.completions
        .create({ ...body, min_tokens: 41 } as typeof body)
        .catch((thrown) => thrown)
      expect(error).toMatchObject({ status: 400, param: "min_tokens" })
    }
  })

  test("ignores stop strings before the minimum", async () => {
    await using server = await serveScript({ tokens: saying("abcdbc") })
    const { client } = server
    const messages = [{ role: "user" as const, content: "hi" }]
    const said = async (fields: object) => {
      const { choices } = await client.chat.completions.create({ model: "script", messages, ...fields })
      return choices[0]?.message.content
    }
    expect(await said({ stop: "bc" })).toBe("a")
    expect(await said({ stop: "bc", min_tokens: 4 })).toBe("abcd")
    expect(await said({ stop: "bc", min_tokens: 6 })).toBe("abcdbc")
  })
})

describe("a suffix", () => {
  const parts = { tokenizer: beginning, chatTemplate: new ChatTemplate("") }

  test("builds a fill-in-the-middle prompt, from text and from ids", async () => {
    // The padding token ends the middle.
    const script = { tokens: [...Buffer.from("mid"), 261, ...Buffer.from("more")] }
    await using server = await serveScript(script, {}, { nVocab: beginning.vocabSize }, parts)
    const { client } = server
    const request = { model: "script", prompt: "a(", suffix: ")b", max_tokens: 20 }
    const { choices } = await client.completions.create(request)
    expect(choices[0]).toMatchObject({ text: "mid", finish_reason: "stop" })
    await client.completions.create({ ...request, prompt: [97, 40] })
    const bytes = [258, 97, 40, 259, 41, 98, 260]
    expect(server.engine.requests.map(({ tokens }) => [...tokens])).toEqual([[256, ...bytes], bytes])
    // Without a suffix, or with an empty one, the prompt is unchanged.
    await client.completions.create({ ...request, suffix: "" })
    expect([...(server.engine.requests.at(-1)?.tokens ?? [])]).toEqual([256, 97, 40])
  })

  test("is refused by a model without fill-in-the-middle tokens", async () => {
    await using server = await serveScript({ tokens: saying("x") })
    const error = await server.client.completions
      .create({ model: "script", prompt: "a", suffix: "b" })
      .catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 400, param: "suffix", code: "unsupported_parameter" })
    expect(server.engine.requests).toEqual([])
  })
})
