/** The official client: choices that are ranked, and text for a gap. */

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import OpenAI from "openai"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../src/text/tokenizer/tokenizer.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { saying, serveScript } from "./support/script-model.ts"
import { type FileServer, serveFile } from "./support/serve-file.ts"

setDefaultTimeout(60_000)

describe("best_of", () => {
  let folder: string
  let server: FileServer
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rocmforge-completions-"))
    await writeTinyModel(join(folder, "tiny.gguf"))
    server = await serveFile(join(folder, "tiny.gguf"), { max_seqs: 8 })
  })
  afterAll(async () => {
    await server[Symbol.asyncDispose]()
    await rm(folder, { recursive: true })
  })

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

  test("returns the likeliest of them, and counts all", async () => {
    const all = await create({ n: 6, logprobs: 0 })
    const ranked = [...all.choices].sort((a, b) => mean(b) - mean(a)).map(({ text }) => text)
    // They differ, or their order would say nothing.
    expect(new Set(ranked).size).toBe(6)
    const two = await create({ n: 2, best_of: 6 })
    expect(two.choices.map(({ text }) => text)).toEqual(ranked.slice(0, 2))
    expect(two.choices.map(({ index, logprobs }) => [index, logprobs])).toEqual([
      [0, null],
      [1, null],
    ])
    expect(two.usage?.completion_tokens).toBe(36)
  })

  test("ranks each prompt's own, with their log-probabilities where asked for", async () => {
    const { choices } = await create({ prompt: ["Once", "Twice"], best_of: 4, logprobs: 1 })
    for (const [i, prompt] of ["Once", "Twice"].entries()) {
      const all = await create({ prompt, n: 4, logprobs: 1 })
      const [first] = [...all.choices].sort((a, b) => mean(b) - mean(a))
      expect(choices[i]).toEqual({ ...first, index: i } as OpenAI.CompletionChoice)
    }
  })

  test("as many as n are all of them, streamed too", async () => {
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

describe("a suffix", () => {
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
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key))
  const parts = { tokenizer, chatTemplate: new ChatTemplate("") }
  const clientOf = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 })

  test("makes a prompt of prefix, suffix and middle, as text and as ids", async () => {
    // The padding token ends what fills the gap.
    const script = { tokens: [...Buffer.from("mid"), 261, ...Buffer.from("more")] }
    await using server = await serveScript(script, {}, { n_vocab: tokenizer.vocabSize }, parts)
    const client = clientOf(server.url)
    const request = { model: "script", prompt: "a(", suffix: ")b", max_tokens: 20 }
    const { choices } = await client.completions.create(request)
    expect(choices[0]).toMatchObject({ text: "mid", finish_reason: "stop" })
    await client.completions.create({ ...request, prompt: [97, 40] })
    const bytes = [258, 97, 40, 259, 41, 98, 260]
    expect(server.engine.requests.map(({ tokens }) => [...tokens])).toEqual([[256, ...bytes], bytes])
    // Without one, or with an empty one, the prompt is what it always is.
    await client.completions.create({ ...request, suffix: "" })
    expect([...(server.engine.requests.at(-1)?.tokens ?? [])]).toEqual([256, 97, 40])
  })

  test("is refused where the model has no such tokens", async () => {
    await using server = await serveScript({ tokens: saying("x") })
    const error = await clientOf(server.url)
      .completions.create({ model: "script", prompt: "a", suffix: "b" })
      .catch((thrown) => thrown)
    expect(error).toMatchObject({ status: 400, param: "suffix", code: "unsupported_parameter" })
    expect(server.engine.requests).toEqual([])
  })
})
