import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { createConnection } from "node:net"
import OpenAI from "openai"
import { post as postTo } from "../support/http.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

let server: ScriptedServer
let client: OpenAI

beforeAll(async () => {
  server = await serveScript({ tokens: saying("hello") }, { maxBodyBytes: 2 ** 20 })
  client = server.client
})
afterAll(() => server[Symbol.asyncDispose]())

interface Failure {
  message: string
  type: string
  param: string | null
  code: string | null
}

/** Returns an error response's error, after checks of its shape and that it leaks no internals. */
async function failure(response: Response): Promise<Failure> {
  expect(response.headers.get("content-type")).toStartWith("application/json")
  const text = await response.text()
  expect(text).not.toMatch(/\.ts\b|node_modules|^\s*at /m)
  const body = JSON.parse(text)
  expect(Object.keys(body)).toEqual(["error"])
  expect(Object.keys(body.error).sort()).toEqual(["code", "message", "param", "type"])
  return body.error
}

const post = (path: string, body: object | string, type = "application/json") =>
  postTo(server.url + path, body, { headers: { "content-type": type } })

const chat = { model: "script", messages: [{ role: "user", content: "hi" }], max_tokens: 2 }
const completion = { model: "script", prompt: "hi", max_tokens: 2 }
const TOOL = { type: "function", function: { name: "f" } }

describe("invalid fields are refused by name", () => {
  const image = { role: "user", content: [{ type: "image_url", image_url: { url: "data:" } }] }
  const cases: [path: string, fields: object, param: string, code: string][] = [
    ["chat/completions", { messages: undefined }, "messages", "missing_required_parameter"],
    ["chat/completions", { model: 7 }, "model", "invalid_type"],
    ["chat/completions", { messages: [] }, "messages", "invalid_value"],
    ["chat/completions", { messages: [{ role: "oracle", content: "x" }] }, "messages[0].role", "invalid_value"],
    ["chat/completions", { messages: [{ role: "user" }] }, "messages[0].content", "missing_required_parameter"],
    ["chat/completions", { messages: [image] }, "messages[0].content[0].type", "invalid_value"],
    ["chat/completions", { temperature: "hot" }, "temperature", "invalid_type"],
    ["chat/completions", { temperature: -0.5 }, "temperature", "invalid_value"],
    ["chat/completions", { top_p: -0.1 }, "top_p", "invalid_value"],
    ["chat/completions", { min_p: 2 }, "min_p", "invalid_value"],
    ["chat/completions", { top_k: 1.5 }, "top_k", "invalid_type"],
    ["chat/completions", { repetition_penalty: 0 }, "repetition_penalty", "invalid_value"],
    ["chat/completions", { seed: 1.5 }, "seed", "invalid_value"],
    ["chat/completions", { n: 129 }, "n", "invalid_value"],
    ["completions", { prompt: Array(5).fill("a"), n: 128 }, "n", "invalid_value"],
    ["chat/completions", { max_tokens: 0 }, "max_tokens", "invalid_value"],
    ["chat/completions", { stop: 3 }, "stop", "invalid_value"],
    ["chat/completions", { stop: Array(65).fill("a") }, "stop", "invalid_value"],
    ["chat/completions", { logit_bias: { x: true } }, "logit_bias.x", "invalid_value"],
    ["chat/completions", { logit_bias: [[1.5, 1]] }, "logit_bias[0]", "invalid_value"],
    ["chat/completions", { logit_bias: 3 }, "logit_bias", "invalid_value"],
    ["chat/completions", { logit_bias: { 100000: 1 } }, "logit_bias", "invalid_value"],
    ["chat/completions", { top_logprobs: 21, logprobs: true }, "top_logprobs", "invalid_value"],
    ["chat/completions", { top_logprobs: 2 }, "top_logprobs", "invalid_value"],
    ["chat/completions", { prompt_logprobs: 1, stream: true }, "prompt_logprobs", "invalid_value"],
    ["chat/completions", { best_of: 2 }, "best_of", "invalid_value"],
    ["chat/completions", { use_beam_search: true }, "use_beam_search", "unsupported_parameter"],
    ["chat/completions", { lora: [{ id: 0, scale: 1 }] }, "lora", "unsupported_parameter"],
    ["chat/completions", { modalities: ["text", "audio"] }, "modalities", "unsupported_parameter"],
    ["chat/completions", { parse_tool_calls: false }, "parse_tool_calls", "unsupported_parameter"],
    ["chat/completions", { structural_tag: "x" }, "structural_tag", "unsupported_parameter"],
    ["chat/completions", { reasoning_effort: "huge" }, "reasoning_effort", "invalid_value"],
    ["chat/completions", { tools: [{ type: "custom" }] }, "tools[0].custom", "missing_required_parameter"],
    ["chat/completions", { tools: [TOOL, TOOL] }, "tools[1].function.name", "invalid_value"],
    [
      "chat/completions",
      { tools: [{ type: "function", function: { name: "f", parameters: { type: "string" } } }] },
      "tools[0].function.parameters",
      "invalid_value",
    ],
    [
      "chat/completions",
      { tools: [{ type: "function", function: { name: "f", strict: true, parameters: { not: {} } } }] },
      "tools[0].function.parameters",
      "invalid_schema",
    ],
    [
      "chat/completions",
      { tools: [TOOL], tool_choice: { type: "function", function: { name: "g" } } },
      "tool_choice",
      "invalid_value",
    ],
    ["chat/completions", { tool_choice: "required" }, "tool_choice", "invalid_value"],
    ["chat/completions", { regex: "a", grammar: "b" }, "grammar", "unsupported_parameter"],
    ["chat/completions", { tools: [TOOL], tool_choice: "f" }, "tool_choice", "invalid_value"],
    [
      "chat/completions",
      { functions: [{ name: "f" }], function_call: { name: "g" } },
      "function_call",
      "invalid_value",
    ],
    ["chat/completions", { chat_template: "{% if %}" }, "chat_template", "chat_template_syntax"],
    [
      "chat/completions",
      { messages: [{ role: "user", content: "x".repeat(2000) }] },
      "messages",
      "context_length_exceeded",
    ],
    [
      "chat/completions",
      { messages: [chat.messages[0], { role: "system", content: "x" }], chat_template: "{{ raise_exception('no') }}" },
      "chat_template",
      "chat_template_raised",
    ],
    ["completions", { prompt: undefined }, "prompt", "missing_required_parameter"],
    ["completions", { prompt: {} }, "prompt", "invalid_value"],
    ["completions", { prompt: "" }, "prompt", "invalid_value"],
    ["completions", { prompt: [] }, "prompt", "invalid_value"],
    ["completions", { prompt: [[1], []] }, "prompt[1]", "invalid_value"],
    ["completions", { prompt: [[1], [-1]] }, "prompt[1][0]", "invalid_value"],
    ["completions", { prompt: [[1], [100000]] }, "prompt", "invalid_value"],
    ["completions", { prompt: Array(2000).fill(1) }, "prompt", "context_length_exceeded"],
    ["completions", { best_of: 2, n: 3 }, "best_of", "invalid_value"],
    ["completions", { best_of: 3, stream: true }, "best_of", "invalid_value"],
    ["completions", { best_of: 21 }, "best_of", "invalid_value"],
    ["completions", { suffix: "end" }, "suffix", "unsupported_parameter"],
    ["completions", { echo: true, logprobs: 1, suffix: "x" }, "suffix", "unsupported_parameter"],
    ["completions", { logprobs: 21 }, "logprobs", "invalid_value"],
    ["completions", { prompt_embeds: "x" }, "prompt_embeds", "unsupported_parameter"],
  ]
  test.each(cases)("%s %j → %s", async (path, fields, param, code) => {
    const base = path === "completions" ? completion : chat
    const before = server.engine.requests.length
    const response = await post(`/v1/${path}`, JSON.stringify({ ...base, ...fields }))
    expect(response.status).toBe(400)
    const error = await failure(response)
    expect(error).toMatchObject({ type: "invalid_request_error", param, code })
    expect(error.message).toContain(param)
    expect(server.engine.requests.length).toBe(before)
  })
})

test.each([
  { user: "u", metadata: { a: "b" }, store: false, service_tier: "auto" },
  { tools: null, tool_choice: "none", response_format: { type: "text" }, stop: null, n: null, seed: null },
  { modalities: ["text"], stream: false, logit_bias: {}, messages: [{ role: "user", content: "hi", name: "Ada" }] },
])("neutral values are taken: %j", async (fields) => {
  const response = await post("/v1/chat/completions", JSON.stringify({ ...chat, ...fields }))
  expect(response.status).toBe(200)
})

describe("the openai client throws its typed errors", () => {
  test("400 with the field", async () => {
    const error = await client.chat.completions.create({ ...chat, messages: [] }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ status: 400, param: "messages", type: "invalid_request_error" })
  })

  test("404 for an unknown model, in a request and by id", async () => {
    const error = await client.completions.create({ model: "gpt-9", prompt: "x" }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error).toMatchObject({ code: "model_not_found", param: "model" })
    expect(await client.models.retrieve("gpt-9").catch((thrown) => thrown)).toBeInstanceOf(OpenAI.NotFoundError)
  })

  test("404 for an unknown endpoint", async () => {
    const error = await client.moderations.create({ input: "x" }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error).toMatchObject({ code: "unknown_url" })
  })
})

describe("routes and methods", () => {
  test.each([
    ["GET", "/v1/chat/completions", "POST"],
    ["DELETE", "/v1/completions", "POST"],
    ["POST", "/v1/models", "GET"],
    ["PUT", "/v1/models/script", "GET"],
    ["POST", "/health", "GET"],
    ["POST", "/", "GET"],
  ])("%s %s is 405 and names %s", async (method, path, allow) => {
    const response = await fetch(server.url + path, { method })
    expect(response.status).toBe(405)
    expect(response.headers.get("allow")).toBe(allow)
    expect((await failure(response)).code).toBe("method_not_allowed")
  })

  test.each(["/nope", "/v1", "/v1/", "/v1/chat", "/swagger/none", "/ui/../../package.json", "/%00", "/%E0%A4%A"])(
    "%s is 404",
    async (path) => {
      const response = await fetch(server.url + path)
      expect(response.status).toBe(404)
      expect((await failure(response)).code).toBe("unknown_url")
    },
  )
})

test.each(["x", "pc", "a:1", "[::1]:80", ""])("the host %j is routed", async (host) => {
  const get = (path: string) => fetch(server.url + path, { headers: { host } })
  expect((await get("/")).headers.get("content-type")).toStartWith("text/html")
  expect((await get("/v1/models/script")).status).toBe(200)
  const response = await get("/nope")
  expect(response.status).toBe(404)
  await failure(response)
})

describe("invalid bodies", () => {
  test.each(["", "{", '{"model":', "[1", "nul", '{"model":"script"}}', "\u0000"])(
    "malformed JSON: %j",
    async (body) => {
      const response = await post("/v1/completions", body)
      expect(response.status).toBe(400)
      expect((await failure(response)).code).toBe("invalid_json")
    },
  )

  test.each(["[]", "null", "3", '"text"'])("JSON that is not an object: %s", async (body) => {
    const response = await post("/v1/completions", body)
    expect(response.status).toBe(400)
    expect((await failure(response)).type).toBe("invalid_request_error")
  })

  test("bytes that are not UTF-8", async () => {
    const response = await post("/v1/completions", new Uint8Array([0x22, 0xff, 0x22]))
    expect((await failure(response)).code).toBe("invalid_json")
  })

  test.each(["text/plain", "application/x-www-form-urlencoded", ""])("content type %j", async (type) => {
    const response = await post("/v1/completions", new TextEncoder().encode(JSON.stringify(completion)), type)
    expect(response.status).toBe(415)
    expect((await failure(response)).code).toBe("unsupported_media_type")
  })

  test("deep nesting", async () => {
    const response = await post("/v1/completions", `{"prompt":${"[".repeat(200_000)}${"]".repeat(200_000)}}`)
    expect(response.status).toBe(400)
    await failure(response)
  })

  test("__proto__ in the body is an unknown field, and gives no others", async () => {
    for (const field of ['{"echo":true}', '{"n":0}']) {
      const response = await post("/v1/completions", `{"model":"script","prompt":"x","__proto__":${field}}`)
      expect(response.status).toBe(200)
      expect(await response.json()).toMatchObject({ choices: [{ text: "hello" }] })
    }
  })

  test("a body larger than the limit, with Content-Length", async () => {
    const response = await post("/v1/completions", "x".repeat(40 * 2 ** 20))
    expect(response.status).toBe(413)
    expect((await failure(response)).code).toBe("request_too_large")
  })

  test("a body larger than the limit, chunked without a length", async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = createConnection(Number(new URL(server.url).port), "127.0.0.1")
      let text = ""
      socket.on("data", (data) => {
        text += data
        if (text.includes("request_too_large")) socket.destroy()
      })
      socket.on("close", () => resolve(text))
      socket.on("error", reject)
      socket.write("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
      socket.write("transfer-encoding: chunked\r\n\r\n")
      const chunk = `10000\r\n${"x".repeat(0x10000)}\r\n`
      for (let i = 0; i < 32; i++) socket.write(chunk)
      socket.write("0\r\n\r\n")
    })
    expect(answer).toStartWith("HTTP/1.1 413")
    expect(answer).toContain("request_too_large")
  })
})

test("an engine failure gives 503, and the next request is served", async () => {
  await using failing = await serveScript({ tokens: saying("hello"), failAfter: 0 })
  const url = `${failing.url}/v1/completions`
  for (const stream of [false, true]) {
    const response = await postTo(url, { ...completion, stream })
    expect(response.status).toBe(503)
    expect(await failure(response)).toMatchObject({ type: "server_error", code: "engine_error" })
  }
  expect(failing.engine.running).toBe(0)
  expect((await fetch(`${failing.url}/health`)).status).toBe(200)
})

test("a prompt that is too long is told in the words that clients look for", async () => {
  const text = "x".repeat(2000)
  const messages = [{ role: "user", content: text }]
  const message = async (path: string, body: object) => {
    const response = await post(path, { model: "script", ...body })
    const { error } = (await response.json()) as { error: string | { message: string } }
    expect(response.status).toBe(400)
    return typeof error === "string" ? error : error.message
  }
  const openAi = await message("/v1/chat/completions", { messages })
  // LangChain and LiteLLM look for OpenAI's words and code, Claude Code for Anthropic's with both numbers.
  expect(openAi).toMatch(
    /This model's maximum context length is \d+ tokens\. However, your request has at least \d+ tokens in 'messages'/,
  )
  expect(await message("/v1/messages", { messages, max_tokens: 1 })).toMatch(
    /prompt is too long: \d+ tokens > \d+ maximum/,
  )
  expect(await message("/v1/responses", { input: text })).toContain("This model's maximum context length is")
  expect(await message("/api/chat", { messages, truncate: false })).toContain("in 'messages'")
})
