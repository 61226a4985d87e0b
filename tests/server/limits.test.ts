/** Requests beyond the limits on size, nesting and length are refused by name, before they cost time or memory. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { LIMITS } from "../../src/server/http/limits.ts"
import { costOf } from "../support/cost.ts"
import { post as postTo } from "../support/http.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

let server: ScriptedServer
beforeAll(async () => {
  server = await serveScript({ tokens: saying("hello") })
})
afterAll(() => server[Symbol.asyncDispose]())

interface Failure {
  message: string
  param: string | null
  code: string | null
}

interface Answer {
  status: number
  /** See `costOf`. */
  cost: number
  error: Failure
}

async function post(path: string, body: string): Promise<Answer> {
  let status = 0
  let error: Failure | string = ""
  const cost = await costOf(async () => {
    const response = await postTo(server.url + path, body)
    status = response.status
    error = ((await response.json()) as { error: Failure | string }).error
  })
  // Ollama's API returns the message only.
  return { status, cost, error: typeof error === "string" ? { message: error, param: null, code: null } : error }
}

/** Highest cost of a refusal: several times the measured cost, and far below the cost of processing the whole body. */
const LITTLE = 5
const user = { role: "user", content: "hi" }
const chat = { model: "script", messages: [user], max_tokens: 2 }
const completion = { model: "script", prompt: "hi", max_tokens: 2 }
const nested = (levels: number) => "[".repeat(levels) + "]".repeat(levels)
const times = <T>(count: number, item: T): T[] => Array<T>(count).fill(item)

describe("nesting", () => {
  const deep = nested(100_000)
  test.each([
    ["/v1/completions", deep],
    ["/v1/completions", "[".repeat(8 * 2 ** 20)],
    ["/v1/completions", '{"a":'.repeat(100_000)],
    ["/v1/completions", `{"model":"script","prompt":${deep}}`],
    ["/v1/chat/completions", `{"model":"script","messages":[{"role":${deep},"content":"x"}]}`],
    ["/v1/chat/completions", `{"model":"script","messages":[{"role":"user","content":"\\"["}],"metadata":${deep}}`],
    ["/v1/chat/completions", `{"model":"script","messages":[],"tools":${deep}}`],
    ["/v1/messages", `{"model":"script","messages":${deep}}`],
    ["/v1/embeddings", `{"model":"script","input":${deep}}`],
    ["/apply-template", `{"messages":[],"chat_template_kwargs":${deep}}`],
  ])("of a hundred thousand levels to %s", async (path, body) => {
    const { status, cost, error } = await post(path, body)
    expect(status).toBe(400)
    expect(error.message).toContain(`limit of ${LIMITS.depth} levels`)
    expect(cost).toBeLessThan(LITTLE)
  })

  test("up to the limit is accepted, and brackets inside strings do not count", async () => {
    const metadata = (levels: number) => `{"model":"script","prompt":"x","logprobs":${nested(levels)}}`
    expect((await post("/v1/completions", metadata(LIMITS.depth - 1))).error).toMatchObject({ param: "logprobs" })
    expect((await post("/v1/completions", metadata(LIMITS.depth))).error.code).toBe("json_too_deep")
    const prompt = `${nested(200)} \\ " ${nested(200)} \\`
    const response = await postTo(`${server.url}/v1/completions`, { ...completion, prompt })
    expect(response.status).toBe(200)
  })
})

test.each([
  ["objects", `{"model":"script","prompt":[${"{},".repeat(2 ** 20)}{}]}`],
  ["fields", `{${Array.from({ length: 300_000 }, (_, i) => `"k${i}":1`).join(",")}}`],
])("a body of too many %s", async (_, body) => {
  const { status, cost, error } = await post("/v1/completions", body)
  expect([status, error.code]).toEqual([413, "request_too_large"])
  expect(error.message).toContain(`up to ${LIMITS.nodes}`)
  expect(cost).toBeLessThan(LITTLE)
})

describe("lists", () => {
  const part = { type: "text", text: "x" }
  const call = { id: "a", type: "function", function: { name: "f", arguments: "{}" } }
  const tool = { type: "function", function: { name: "f" } }
  const cases: [path: string, body: object, param: string, limit: number][] = [
    ["/v1/chat/completions", { ...chat, messages: times(LIMITS.messages + 1, user) }, "messages", LIMITS.messages],
    [
      "/v1/chat/completions",
      { ...chat, messages: [{ role: "user", content: times(LIMITS.parts + 1, part) }] },
      "messages[0].content",
      LIMITS.parts,
    ],
    [
      "/v1/chat/completions",
      { ...chat, messages: [{ role: "assistant", tool_calls: times(LIMITS.tools + 1, call) }] },
      "messages[0].tool_calls",
      LIMITS.tools,
    ],
    ["/v1/chat/completions", { ...chat, tools: times(LIMITS.tools + 1, tool) }, "tools", LIMITS.tools],
    ["/v1/chat/completions", { ...chat, stop: times(1_000_000, "a") }, "stop", LIMITS.stops],
    ["/v1/completions", { ...completion, prompt: times(1_000_000, "a") }, "prompt", LIMITS.prompts],
    ["/v1/completions", { ...completion, prompt: times(LIMITS.prompts + 1, [1]) }, "prompt", LIMITS.prompts],
    ["/v1/completions", { ...completion, prompt: times(LIMITS.tokens + 1, 1) }, "prompt", LIMITS.tokens],
    ["/v1/embeddings", { model: "script", input: times(LIMITS.inputs + 1, "a") }, "input", LIMITS.inputs],
    ["/v1/messages", { ...chat, messages: times(LIMITS.messages + 1, user) }, "messages", LIMITS.messages],
    ["/v1/messages", { ...chat, stop_sequences: times(1_000_000, "a") }, "stop_sequences", LIMITS.stops],
    ["/v1/responses", { model: "script", input: times(LIMITS.messages + 1, user) }, "input", LIMITS.messages],
    ["/v1/responses", { model: "script", input: "hi", include: times(100_000, "a") }, "include", LIMITS.includes],
    ["/api/chat", { model: "script", messages: times(LIMITS.messages + 1, user) }, "messages", LIMITS.messages],
    [
      "/api/generate",
      { model: "script", prompt: "x", options: { stop: times(100_000, "a") } },
      "options.stop",
      LIMITS.stops,
    ],
    ["/api/embed", { model: "script", input: times(LIMITS.inputs + 1, "a") }, "input", LIMITS.inputs],
    ["/tokenize", { messages: times(LIMITS.messages + 1, user) }, "messages", LIMITS.messages],
    ["/detokenize", { tokens: times(LIMITS.decoded + 1, 1) }, "tokens", LIMITS.decoded],
  ]
  test.each(cases)("that are too long for %s are refused by name", async (path, body, param, limit) => {
    const { status, cost, error } = await post(path, JSON.stringify(body))
    expect(status).toBe(400)
    if (path !== "/v1/messages" && !path.startsWith("/api/")) expect(error.param).toBe(param)
    expect(error.message).toContain(param)
    expect(error.message).toContain(`takes up to ${limit}`)
    expect(cost).toBeLessThan(LITTLE)
  })

  test.each([
    ["/v1/completions", { ...completion, prompt: times(1_000_000, -1) }, "prompt[0]"],
    ["/v1/completions", { ...completion, prompt: [[1], times(1_000_000, 0.5)] }, "prompt[1][0]"],
    ["/v1/completions", { ...completion, prompt: [1, ...times(1_000_000, "a")] }, "prompt[1]"],
    ["/v1/embeddings", { model: "script", input: times(1_000_000, -1) }, "input[0]"],
    ["/detokenize", { tokens: times(1_000_000, -1) }, "tokens[0]"],
  ])("of a million bad token ids for %s are named by the first", async (path, body, param) => {
    const { status, cost, error } = await post(path, JSON.stringify(body))
    expect([status, error.param]).toEqual([400, param])
    expect(cost).toBeLessThan(LITTLE)
  })
})

test.each([
  [
    "many variables of a chat template",
    { ...chat, chat_template_kwargs: Object.fromEntries(times(40_000, 0).map((_, i) => [`v${i}`, 1])) },
    "chat_template_kwargs",
  ],
  ["a list of template documents", { ...chat, documents: times(LIMITS.parts + 1, {}) }, "documents"],
  ["a stop string", { ...chat, stop: "x".repeat(4 * 2 ** 20) }, "stop"],
  ["one of several stop strings", { ...chat, stop: ["a", "x".repeat(4 * 2 ** 20)] }, "stop[1]"],
])("%s that is too long", async (_, body, param) => {
  const { status, cost, error } = await post("/v1/chat/completions", JSON.stringify(body))
  expect([status, error.param]).toEqual([400, param])
  expect(cost).toBeLessThan(LITTLE)
})

test("metadata of many pairs is refused where it is stored", async () => {
  const metadata = Object.fromEntries(times(40_000, 0).map((_, i) => [i, "a"]))
  const { status, cost, error } = await post("/v1/responses", JSON.stringify({ model: "script", input: "x", metadata }))
  expect([status, error.param]).toEqual([400, "metadata"])
  expect(cost).toBeLessThan(LITTLE)
  expect((await postTo(`${server.url}/v1/chat/completions`, { ...chat, metadata })).status).toBe(200)
})

describe("response formats", () => {
  const format = (schema: unknown) => ({
    response_format: { type: "json_schema", json_schema: { name: "form", schema } },
  })
  const deep = (levels: number): object => (levels === 0 ? {} : { items: deep(levels - 1) })
  const text = "a".repeat(LIMITS.grammarLength + 1)
  const path = "response_format.json_schema.schema"
  test.each([
    [format({ enum: times(LIMITS.schemaLength / 4, "a") }), path, `up to ${LIMITS.schemaLength}`],
    [format(deep(LIMITS.schemaDepth)), path, `limit of ${LIMITS.schemaDepth} levels`],
    [{ regex: text }, "regex", `limit of ${LIMITS.grammarLength}`],
    [{ grammar: text }, "grammar", `limit of ${LIMITS.grammarLength}`],
    [{ structured_outputs: { regex: text } }, "structured_outputs.regex", `limit of ${LIMITS.grammarLength}`],
    [
      { structured_outputs: { json: deep(LIMITS.schemaDepth) } },
      "structured_outputs.json",
      `limit of ${LIMITS.schemaDepth} levels`,
    ],
    [
      { structured_outputs: { choice: times(LIMITS.choices + 1, "a") } },
      "structured_outputs.choice",
      `takes up to ${LIMITS.choices}`,
    ],
  ])("that are too large are refused by name: %#", async (fields, param, message) => {
    for (const [route, base] of [
      ["/v1/chat/completions", chat],
      ["/v1/completions", completion],
    ] as const) {
      const { status, cost, error } = await post(route, JSON.stringify({ ...base, ...fields }))
      expect([status, error.param]).toEqual([400, param])
      expect(error.message).toContain(message)
      expect(cost).toBeLessThan(LITTLE)
    }
  })
})

describe("tool schemas", () => {
  const withSchema = (parameters: unknown) =>
    post(
      "/v1/chat/completions",
      JSON.stringify({ ...chat, tools: [{ type: "function", function: { name: "f", parameters } }] }),
    )
  const param = "tools[0].function.parameters"
  const deep = (levels: number): object => (levels === 0 ? {} : { items: deep(levels - 1) })

  test("that are too large", async () => {
    const { status, error } = await withSchema({ enum: times(LIMITS.schemaLength / 4, "a") })
    expect([status, error.param]).toEqual([400, param])
    expect(error.message).toContain(`up to ${LIMITS.schemaLength}`)
  })

  test("that nest too deep", async () => {
    const { status, error } = await withSchema(deep(LIMITS.schemaDepth))
    expect([status, error.param]).toEqual([400, param])
    expect(error.message).toContain(`limit of ${LIMITS.schemaDepth} levels`)
  })
})

test("an error quotes only a short part of the request", async () => {
  const long = "x".repeat(100_000)
  for (const body of [
    { ...chat, chat_template_kwargs: { messages: long } },
    { ...chat, messages: [{ role: long, content: "x" }] },
    { ...chat, model: long },
  ]) {
    const { status, error } = await post("/v1/chat/completions", JSON.stringify(body))
    expect([400, 404]).toContain(status)
    expect(JSON.stringify(error).length).toBeLessThan(3000)
  }
})
