import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import fc from "fast-check"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../src/text/tokenizer/tokenizer.ts"
import { post as postTo } from "../support/http.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const BOS = 256
const END = 257
const metadata = new Map<string, unknown>([
  ["tokenizer.ggml.model", "gpt2"],
  ["tokenizer.ggml.pre", "gpt-2"],
  ["tokenizer.ggml.tokens", [...BYTE_TO_CHAR, "<|begin|>", "<|im_end|>"]],
  ["tokenizer.ggml.token_type", [...BYTE_TO_CHAR.map(() => 1), 3, 3]],
  ["tokenizer.ggml.merges", []],
  ["tokenizer.ggml.bos_token_id", BOS],
  ["tokenizer.ggml.eos_token_id", END],
  ["tokenizer.ggml.add_bos_token", true],
])
const template =
  "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}a:{% if enable_thinking %}<think>{% endif %}{% endif %}"

let server: ScriptedServer
beforeAll(async () => {
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key))
  const parts = {
    tokenizer,
    chatTemplate: new ChatTemplate(template, { bosToken: "<|begin|>", eosToken: "<|im_end|>" }),
  }
  server = await serveScript({ tokens: saying("x") }, {}, { nVocab: tokenizer.vocabSize }, parts)
})
afterAll(() => server[Symbol.asyncDispose]())

async function post(path: string, body: object): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await postTo(server.url + path, body)
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}
const ok = async (path: string, body: object) => {
  const answer = await post(path, body)
  expect(answer.status).toBe(200)
  return answer.body
}

const messages = [{ role: "user", content: "hi" }]

describe("/tokenize", () => {
  test("in llama-server's form: without BOS by default, pieces as text or bytes", async () => {
    expect(await ok("/tokenize", { content: "hé" })).toMatchObject({ tokens: [104, 195, 169], count: 3 })
    expect((await ok("/tokenize", { content: "h", add_special: true })).tokens).toEqual([BOS, 104])
    expect((await ok("/tokenize", { content: "h<|im_end|>" })).tokens).toEqual([104, END])
    expect((await ok("/tokenize", { content: "<|im_end|>", parse_special: false })).count).toBe(10)
    expect((await ok("/tokenize", { content: "h\u00e9<|im_end|>", with_pieces: true })).tokens).toEqual([
      { id: 104, piece: "h" },
      { id: 195, piece: [195] },
      { id: 169, piece: [169] },
      { id: END, piece: "<|im_end|>" },
    ])
    expect(await ok("/tokenize", { content: "" })).toMatchObject({ tokens: [], count: 0 })
  })

  test("in vLLM's form: with BOS, the context's length, and the vocabulary's strings", async () => {
    expect(await ok("/tokenize", { model: "script", prompt: "a b", return_token_strs: true })).toEqual({
      tokens: [BOS, 97, 32, 98],
      count: 4,
      max_model_len: 1024,
      token_strs: ["<|begin|>", "a", "Ġ", "b"],
    })
    expect((await ok("/tokenize", { prompt: "a", add_special_tokens: false })).tokens).toEqual([97])
  })

  test("a conversation is formatted with the template first", async () => {
    const chat = [BOS, ...Buffer.from("u:hi"), END, ...Buffer.from("a:")]
    expect((await ok("/tokenize", { messages })).tokens).toEqual(chat)
    expect((await ok("/tokenize", { messages, add_generation_prompt: false })).tokens).toEqual(chat.slice(0, -2))
    await post("/v1/chat/completions", { model: "script", messages, max_tokens: 1 })
    expect([...(server.engine.requests.at(-1)?.tokens ?? [])]).toEqual(chat)
  })

  test.each([
    [{}, "prompt"],
    [{ prompt: "a", content: "b" }, "prompt"],
    [{ messages, add_special: true }, "add_special"],
    [{ messages, parse_special: false }, "parse_special"],
    [{ prompt: "a", chat_template_kwargs: { enable_thinking: true } }, "chat_template_kwargs"],
    [{ messages, continue_final_message: true }, "continue_final_message"],
    [{ prompt: "a", more: 1 }, "more"],
  ])("%j is refused: %s", async (body, param) => {
    expect(await post("/tokenize", body)).toMatchObject({ status: 400, body: { error: { param } } })
  })

  test("an unknown model is 404", async () => {
    expect(await post("/tokenize", { model: "gpt-9", prompt: "a" })).toMatchObject({ status: 404 })
  })
})

describe("/detokenize", () => {
  test("returns the text under both names, with control tokens", async () => {
    expect(await ok("/detokenize", { tokens: [104, 195, 169, END] })).toEqual({
      content: "hé<|im_end|>",
      prompt: "hé<|im_end|>",
    })
    expect(await ok("/detokenize", { model: "script", tokens: [] })).toEqual({ content: "", prompt: "" })
  })
  test("refuses ids that do not exist", async () => {
    for (const [tokens, param] of [
      [[258], "tokens"],
      [[-1], "tokens[0]"],
      [[0.5], "tokens[0]"],
    ])
      expect(await post("/detokenize", { tokens })).toMatchObject({ status: 400, body: { error: { param } } })
  })
  test("inverts /tokenize", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "grapheme", maxLength: 30 }), async (content) => {
        const { tokens } = await ok("/tokenize", { content })
        expect((await ok("/detokenize", { tokens })).content).toBe(content)
      }),
      { numRuns: 50, seed: 1 },
    )
  })
})

describe("/apply-template", () => {
  test("returns the prompt", async () => {
    expect(await ok("/apply-template", { messages })).toEqual({ prompt: "<|begin|>u:hi<|im_end|>a:" })
    expect(await ok("/apply-template", { messages, chat_template_kwargs: { enable_thinking: true } })).toEqual({
      prompt: "<|begin|>u:hi<|im_end|>a:<think>",
    })
    const begun = [...messages, { role: "assistant", content: "we" }]
    expect(await ok("/apply-template", { messages: begun, continue_final_message: true })).toEqual({
      prompt: "<|begin|>u:hi<|im_end|>a:we",
    })
  })
  test("describes tools, as chat does", async () => {
    const tools = [{ type: "function", function: { name: "f" } }]
    const { prompt } = await ok("/apply-template", { messages, tools })
    expect(prompt).toContain('{"name":"f",')
    expect((await ok("/tokenize", { messages, tools })).count).toBeGreaterThan(100)
    const none = { messages, tools, tool_choice: "none" }
    expect(await ok("/apply-template", none)).toEqual(await ok("/apply-template", { messages }))
    for (const path of ["/apply-template", "/tokenize"])
      expect(await post(path, { messages, tools: [...tools, ...tools] })).toMatchObject({
        status: 400,
        body: { error: { param: "tools[1].function.name" } },
      })
    expect(await post("/tokenize", { prompt: "a", tools })).toMatchObject({ body: { error: { param: "tools" } } })
  })
  test("ignores variables that the template does not use, and refuses those of the server", async () => {
    const plain = await ok("/apply-template", { messages })
    expect(await ok("/apply-template", { messages, chat_template_kwargs: { colour: 1 } })).toEqual(plain)
    expect(await post("/apply-template", { messages, chat_template_kwargs: { tools: [] } })).toMatchObject({
      status: 400,
      body: { error: { param: "chat_template_kwargs.tools" } },
    })
  })
})
