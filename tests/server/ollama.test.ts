/** `/api/chat` and `/api/generate` with Ollama's client. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type { ChatRequest, ChatResponse, GenerateRequest, GenerateResponse, Ollama } from "ollama"
import { resolveModel } from "../../src/store/resolve.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { serveFile, type TestServer } from "../support/http.ts"
import { validatorFor } from "../support/json-schemas.ts"
import { until } from "../support/until.ts"
import { ollamaOf } from "./support/clients.ts"
import { curl, refusal } from "./support/ollama-requests.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

const messages = [{ role: "user", content: "hi" }]
const request = { model: "script", messages }

type Served = Awaited<ReturnType<typeof serveScript>>
/** The prompt of the engine's last request, as text. */
const promptOf = ({ engine }: Served) => byteTokenizer.decode(engine.requests.at(-1)?.tokens ?? [], { special: true })

async function all<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const pieces: T[] = []
  for await (const piece of stream) pieces.push(piece)
  return pieces
}
const chatStream = async (url: string, fields: Partial<ChatRequest> = {}) =>
  all<ChatResponse>(await ollamaOf(url).chat({ ...request, ...fields, stream: true }))
const textStream = async (url: string, fields: Partial<GenerateRequest> = {}) =>
  all<GenerateResponse>(await ollamaOf(url).generate({ model: "script", prompt: "hi", ...fields, stream: true }))

describe("a chat", () => {
  test("answers with text, a done reason, counts and durations", async () => {
    await using server = await serveScript({ tokens: saying("Grüße"), stepMs: 5 })
    const before = Date.now()
    const { created_at, total_duration, load_duration, ...answer } = await ollamaOf(server.url).chat({ ...request })
    expect(answer as object).toEqual({
      model: "script",
      message: { role: "assistant", content: "Grüße" },
      done: true,
      done_reason: "stop",
      prompt_eval_count: 2,
      prompt_eval_duration: 1e6,
      eval_count: 8,
      eval_duration: 1e6,
    })
    expect(Date.parse(String(created_at))).toBeWithin(before, Date.now() + 1)
    expect(total_duration).toBeGreaterThan(30e6)
    expect(load_duration).toBeLessThan(total_duration)
  })

  test("is streamed by default, as one JSON object per line, with the same text", async () => {
    await using server = await serveScript({ tokens: saying("Grüße") })
    const response = await curl(`${server.url}/api/chat`, request)
    expect(response.headers.get("content-type")).toBe("application/x-ndjson")
    const lines = (await response.text()).split("\n")
    expect(lines.pop()).toBe("")
    const pieces = lines.map((line) => JSON.parse(line))
    expect(pieces.map(({ message }) => message.content)).toEqual([..."Grüße", ""])
    expect(pieces.map(({ done }) => done)).toEqual([...[..."Grüße"].map(() => false), true])
    expect(pieces.at(-1)).toMatchObject({ done_reason: "stop", eval_count: 8 })
    const streamed = await chatStream(server.url)
    expect(streamed.map(({ message }) => message.content).join("")).toBe("Grüße")
  })

  test("passes every option and Ollama's defaults to the engine", async () => {
    await using server = await serveScript({ tokens: saying("ok") })
    const options = {
      temperature: 0.25,
      top_k: 9,
      top_p: 0.5,
      min_p: 0.1,
      seed: 7,
      num_predict: 3,
      repeat_penalty: 1.5,
      presence_penalty: 0.5,
      frequency_penalty: 0.25,
      repeat_last_n: -1,
      num_ctx: 64,
      num_keep: 4,
      mirostat: 2,
      mirostat_tau: 4,
      mirostat_eta: 0.2,
      tfs_z: 1,
      typical_p: 0.75,
    } as const
    await ollamaOf(server.url).chat({ ...request, options })
    expect(server.engine.requests[0]).toMatchObject({
      maxTokens: 3,
      sampling: {
        temperature: 0.25,
        topK: 9,
        topP: 0.5,
        minP: 0.1,
        seed: 7n,
        repetitionPenalty: 1.5,
        presencePenalty: 0.5,
        frequencyPenalty: 0.25,
        repeatLastN: -1,
        typicalP: 0.75,
        mirostat: 2,
        mirostatTau: 4,
        mirostatEta: 0.2,
      },
    })
    await ollamaOf(server.url).chat({ ...request, options: { num_predict: -1, seed: -1 } })
    expect(server.engine.requests[1]).toMatchObject({
      maxTokens: 1022,
      sampling: { temperature: 0.8, topK: 40, topP: 0.9, minP: 0, repetitionPenalty: 1 },
    })
  })

  test.each([
    [{ num_predict: 3 }, "abc", "length"],
    [{ num_ctx: 6 }, "abcd", "length"],
    [{ stop: ["zz", "de"] }, "abc", "stop"],
    [{ num_predict: 0 }, "abcdefgh", "stop"],
  ])("with %j says %s and ends for %s", async (options, content, done_reason) => {
    await using server = await serveScript({ tokens: saying("abcdefgh") })
    expect(await ollamaOf(server.url).chat({ ...request, options })).toMatchObject({
      message: { content },
      done_reason,
    })
    const streamed = await chatStream(server.url, { options })
    expect(streamed.map(({ message }) => message.content).join("")).toBe(content)
    expect(streamed.at(-1)?.done_reason).toBe(done_reason)
  })

  test("returns log-probabilities of all tokens", async () => {
    await using server = await serveScript({ tokens: saying("ab") })
    const asked = { ...request, logprobs: true, top_logprobs: 1 }
    const score = (token: string) => ({ token, logprob: -0.5, bytes: [...Buffer.from(token)] })
    const scores = ["a", "b"].map((token) => ({ ...score(token), top_logprobs: [score(token)] }))
    expect((await ollamaOf(server.url).chat({ ...asked })).logprobs as unknown).toEqual(scores)
    const streamed = await chatStream(server.url, asked)
    expect(streamed.flatMap(({ logprobs }) => logprobs ?? []) as unknown).toEqual(scores)
  })

  test("stops when the client disconnects", async () => {
    await using server = await serveScript({ tokens: saying("slow ".repeat(100)), stepMs: 20 })
    const client = ollamaOf(server.url)
    const stream = await client.chat({ ...request, stream: true })
    await stream[Symbol.asyncIterator]().next()
    expect(server.engine.running).toBe(1)
    stream.abort()
    await until(() => server.engine.running === 0)
    expect(server.engine.cancelled).toBe(1)
  })

  test("that fails midway ends with an error line", async () => {
    await using server = await serveScript({ tokens: saying("abcdefgh"), failAfter: 3, stepMs: 20 })
    const lines = (await (await curl(`${server.url}/api/chat`, request)).text()).trim().split("\n")
    expect(JSON.parse(lines.at(-1) ?? "")).toEqual({ error: "The engine failed: the device was lost" })
    await expect(chatStream(server.url)).rejects.toThrow("The engine failed: the device was lost")
    await expect(ollamaOf(server.url).chat({ ...request })).rejects.toMatchObject({ status_code: 503 })
  })

  test("without messages only loads the model", async () => {
    await using server = await serveScript({ tokens: saying("no") })
    for (const body of [{ model: "script" }, { model: "script", messages: [], stream: false }]) {
      const answer = await (await curl(`${server.url}/api/chat`, body)).json()
      expect(answer).toMatchObject({ message: { role: "assistant", content: "" }, done: true, done_reason: "load" })
    }
    expect(await ollamaOf(server.url).generate({ model: "script", prompt: "" })).toMatchObject({
      response: "",
      done_reason: "load",
    })
    expect(server.engine.requests).toEqual([])
  })
})

/** Shows roles, contents and calls. */
const MARKED =
  "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}"

describe("thinking", () => {
  const chatTemplate = new ChatTemplate(
    `${MARKED}{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}`,
  )
  const answer = "<think>Two and two.</think>It is 4."

  test("is returned separately from the answer, plain and streamed", async () => {
    await using server = await serveScript({ tokens: saying(answer) }, {}, {}, { chatTemplate })
    const client = ollamaOf(server.url)
    for (const think of [undefined, true]) {
      const { message } = await client.chat({ ...request, ...(think !== undefined && { think }) })
      expect(message).toEqual({ role: "assistant", content: "It is 4.", thinking: "Two and two." })
    }
    const streamed = await chatStream(server.url)
    expect(streamed.map(({ message }) => message.thinking ?? "").join("")).toBe("Two and two.")
    expect(streamed.map(({ message }) => message.content).join("")).toBe("It is 4.")
    expect(await client.generate({ model: "script", prompt: "2+2?" })).toMatchObject({
      response: "It is 4.",
      thinking: "Two and two.",
    })
    expect(promptOf(server)).toBe("<user>2+2?;")
  })

  test("can be turned off, or set to a level if the template has levels", async () => {
    await using server = await serveScript({ tokens: saying("4") }, {}, {}, { chatTemplate })
    const { message } = await ollamaOf(server.url).chat({ ...request, think: false })
    expect(message).toEqual({ role: "assistant", content: "4" })
    expect(promptOf(server)).toBe("<user>hi;<think></think>")

    const levels = new ChatTemplate(`${MARKED}[{{ reasoning_effort }}]{# </think> #}`)
    await using other = await serveScript({ tokens: saying("4") }, {}, {}, { chatTemplate: levels })
    await ollamaOf(other.url).chat({ ...request, think: "high" })
    expect(promptOf(other)).toBe("<user>hi;[high]")
  })

  test("has no effect for a model without it", async () => {
    await using server = await serveScript({ tokens: saying("4") })
    for (const think of [true, false, "high"] as const)
      expect((await ollamaOf(server.url).chat({ ...request, think })).message.content).toBe("4")
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain(
      'rocmforge_ignored_fields_total{field="think"} 2',
    )
  })
})

describe("tools", () => {
  const tools = ["f", "g"].map((name) => ({
    type: "function",
    function: {
      name,
      description: `Does ${name}.`,
      parameters: { type: "object", properties: { x: { type: "string" } } },
    },
  }))
  const chatTemplate = new ChatTemplate(`{% if tools %}{{ tools | tojson }}{% endif %}{# <tool_call> #}${MARKED}`)
  const call = (name: string, values: object) =>
    `<tool_call>\n${JSON.stringify({ name, arguments: values })}\n</tool_call>`
  const serve = (answer: string) =>
    serveScript({ tokens: saying(answer) }, {}, { contextLength: 8192 }, { chatTemplate })

  test("are called, each call in one piece", async () => {
    await using server = await serve(`Hm.\n${call("f", { x: "y" })}\n${call("g", {})}`)
    const expected = [
      { id: expect.any(String), function: { index: 0, name: "f", arguments: { x: "y" } } },
      { id: expect.any(String), function: { index: 1, name: "g", arguments: {} } },
    ]
    const { message, done_reason } = await ollamaOf(server.url).chat({ ...request, tools })
    expect(message).toEqual({ role: "assistant", content: "Hm.", tool_calls: expected as never })
    expect(done_reason).toBe("stop")
    expect(promptOf(server)).toContain("Does g.")
    const streamed = await chatStream(server.url, { tools })
    expect(streamed.flatMap(({ message }) => message.tool_calls ?? [])).toEqual(expected as never)
    expect(streamed.filter(({ message }) => message.tool_calls !== undefined).length).toBe(2)
    expect(streamed.map(({ message }) => message.content).join("")).toBe("Hm.")
  })

  test("results are passed to the model, by name and in order", async () => {
    await using server = await serve("ok")
    const made = (name: string, x: number) => ({ function: { name, arguments: { x } } })
    await ollamaOf(server.url).chat({
      ...request,
      messages: [
        ...messages,
        { role: "assistant", content: "", tool_calls: [made("f", 1), made("g", 2), made("f", 3)] },
        { role: "tool", tool_name: "g", content: "two" },
        { role: "tool", tool_name: "f", content: "one" },
        { role: "tool", content: "three" },
      ],
    })
    expect(promptOf(server)).toMatch(/"x": ?1.*"x": ?2.*"x": ?3.*two.*one.*three/s)
  })

  test("calls that are cut off are omitted", async () => {
    await using server = await serve(call("f", { x: "a long text" }))
    const options = { num_predict: 50 }
    const { message, done_reason } = await ollamaOf(server.url).chat({ ...request, tools, options })
    expect([message.tool_calls, done_reason]).toEqual([undefined, "length"])
  })
})

describe("generate", () => {
  const chatTemplate = new ChatTemplate(MARKED)

  test("formats the prompt with the model's template and the request's system message", async () => {
    await using server = await serveScript({ tokens: saying("there") }, {}, {}, { chatTemplate })
    const answer = await ollamaOf(server.url).generate({ model: "script", prompt: "hi", system: "Be brief." })
    expect(answer).toMatchObject({ model: "script", response: "there", done: true, done_reason: "stop", eval_count: 6 })
    expect(promptOf(server)).toBe("<system>Be brief.;<user>hi;")
    const streamed = await textStream(server.url)
    expect(streamed.map(({ response }) => response)).toEqual([..."there", ""])
    expect(streamed.at(-1)).toMatchObject({ done: true, done_reason: "stop", prompt_eval_count: 9 })
  })

  test("continues from the context of an earlier answer", async () => {
    await using server = await serveScript({ tokens: saying("there") }, {}, {}, { chatTemplate })
    const client = ollamaOf(server.url)
    const { context } = await client.generate({ model: "script", prompt: "hi" })
    expect(byteTokenizer.decode(context, { special: true })).toBe("<user>hi;there<|im_end|>")
    await client.generate({ model: "script", prompt: "again", context })
    expect(promptOf(server)).toBe("<user>hi;there<|im_end|><user>again;")
    const [status, error] = await refusal(server.url, "/api/generate", {
      model: "script",
      prompt: "x",
      context: [9999],
    })
    expect([status, error]).toEqual([400, expect.stringContaining("'context': token 9999 does not exist")])
  })

  test("sends the prompt unchanged if it is raw, or if there is no template", async () => {
    await using server = await serveScript({ tokens: saying("c") }, {}, {}, { chatTemplate })
    const answer = await ollamaOf(server.url).generate({ model: "script", prompt: "<user>a<|im_end|>b", raw: true })
    expect([promptOf(server), answer.response, answer.context]).toEqual(["<user>a<|im_end|>b", "c", undefined as never])
    await using plain = await serveScript({ tokens: saying("c") }, {}, {}, { chatTemplate: undefined })
    await ollamaOf(plain.url).generate({ model: "script", prompt: "ab" })
    expect(promptOf(plain)).toBe("ab")
    const [status, error] = await refusal(plain.url, "/api/chat", request)
    expect([status, error]).toEqual([400, expect.stringContaining("has no chat template")])
  })

  test("with a suffix fills in the middle, if the model supports it", async () => {
    const fim = { prefix: 1, suffix: 2, middle: 3 }
    // The tokenizer's methods read private members, so they need the tokenizer itself as `this`.
    const tokenizer = new Proxy(byteTokenizer, {
      get(target, key) {
        const value: unknown = key === "fim" ? fim : Reflect.get(target, key, target)
        return typeof value === "function" ? value.bind(target) : value
      },
    })
    await using server = await serveScript({ tokens: saying("b") }, {}, {}, { tokenizer })
    await ollamaOf(server.url).generate({ model: "script", prompt: "a", suffix: "c" })
    const [a, c] = [..."ac"].map((text) => tokenizer.encode(text)[0] as number)
    expect([...(server.engine.requests[0]?.tokens ?? [])]).toEqual([1, a, 2, c, 3] as number[])
    await using other = await serveScript({ tokens: saying("b") })
    const [status, error] = await refusal(other.url, "/api/generate", { model: "script", prompt: "a", suffix: "c" })
    expect([status, error]).toEqual([400, expect.stringContaining("'suffix': the model 'script' has no tokens")])
  })
})

describe("with SmolLM2", () => {
  let server: TestServer
  let client: Ollama
  beforeAll(async () => {
    server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 256 })
    client = ollamaOf(server.url)
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const question = "What is the capital of France?"
  const options = { temperature: 0, num_predict: 40 }

  test("a chat, a stream and a generated text are equal", async () => {
    const model = `${server.model.name}:latest`
    const body = { model, messages: [{ role: "user", content: question }], options }
    const answer = await client.chat(body)
    expect(answer).toMatchObject({ model, done_reason: "stop", eval_count: expect.any(Number) })
    expect(answer.message.content).toContain("Paris")
    expect(answer.eval_duration).toBeGreaterThan(1e6)
    const streamed = await all<ChatResponse>(await client.chat({ ...body, stream: true }))
    expect(streamed.map(({ message }) => message.content).join("")).toBe(answer.message.content)
    expect(streamed.length).toBeGreaterThan(4)
    const generated = await client.generate({ model, prompt: question, options })
    expect(generated.response).toBe(answer.message.content)
    expect(generated.prompt_eval_count).toBe(answer.prompt_eval_count)
    const more = await client.generate({ model, prompt: "And of Italy?", context: generated.context, options })
    expect(more.prompt_eval_count).toBeGreaterThan(generated.context.length)
  })

  describe("a format", () => {
    const schema = {
      type: "object",
      properties: { name: { type: "string", maxLength: 20 }, age: { type: "integer", minimum: 0, maximum: 150 } },
      required: ["name", "age"],
      additionalProperties: false,
    }
    const validate = validatorFor(schema)
    const hot = { temperature: 1.5, seed: 4, num_predict: 60 }
    const ask = "Describe a person as JSON."

    test("constrains the answer of a chat, a stream, and a raw or templated generation", async () => {
      const model = server.model.name
      const body = { model, messages: [{ role: "user", content: ask }], format: schema, options: hot }
      const { message } = await client.chat(body)
      expect(validate(JSON.parse(message.content))).toBeUndefined()
      const streamed = await all<ChatResponse>(await client.chat({ ...body, stream: true }))
      expect(streamed.map(({ message }) => message.content).join("")).toBe(message.content)
      for (const raw of [false, true]) {
        const { response } = await client.generate({ model, prompt: ask, raw, format: schema, options: hot })
        expect(validate(JSON.parse(response ?? ""))).toBeUndefined()
      }
      const any = await client.generate({ model, prompt: ask, format: "json", options: { ...hot, num_predict: 12 } })
      expect(any.response).toStartWith("{")
    })

    test("that is unsupported is refused by name", async () => {
      const request = { model: server.model.name, messages: [{ role: "user", content: ask }] }
      for (const format of [{ type: "string", pattern: "(?=a)b" }, { $ref: "#/nowhere" }]) {
        const [status, error] = await refusal(server.url, "/api/chat", { ...request, format })
        expect([status, error]).toEqual([400, expect.stringContaining("'format'")])
      }
    })
  })
})
