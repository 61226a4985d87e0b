/** Constrained tool calls of a small model that rarely calls tools by itself: required calls occur, and every call is valid. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import Ajv from "ajv"
import type OpenAI from "openai"
import { resolveModel } from "../../src/store/resolve.ts"
import { serveFile, type TestServer } from "../support/http.ts"

let server: TestServer
beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 2048 })
})
afterAll(() => server[Symbol.asyncDispose]())

const weather = {
  type: "object",
  properties: {
    city: { type: "string", maxLength: 24 },
    unit: { enum: ["celsius", "fahrenheit"] },
    days: { type: "integer", minimum: 1, maximum: 7 },
  },
  required: ["city", "unit"],
  additionalProperties: false,
}
const order = {
  type: "object",
  properties: {
    lines: {
      type: "array",
      minItems: 1,
      maxItems: 2,
      items: {
        type: "object",
        properties: { item: { $ref: "#/$defs/item" }, count: { type: "integer", minimum: 1, maximum: 99 } },
        required: ["item", "count"],
        additionalProperties: false,
      },
    },
    note: { anyOf: [{ type: "null" }, { type: "string", pattern: "^[a-z]{1,12}$" }] },
  },
  required: ["lines", "note"],
  additionalProperties: false,
  $defs: { item: { enum: ["tea", "coffee", '"both"'] } },
}
const SCHEMAS: Record<string, object> = { get_weather: weather, order }
const tools: OpenAI.ChatCompletionFunctionTool[] = Object.entries(SCHEMAS).map(([name, parameters]) => ({
  type: "function",
  function: { name, description: `The tool ${name}.`, strict: true, parameters: parameters as Record<string, unknown> },
}))
const ajv = new Ajv({ strict: false })
function validate({ name, arguments: text }: { name: string; arguments: string }): void {
  const schema = SCHEMAS[name]
  if (schema === undefined) throw new Error(`there is no tool ${name}`)
  expect(ajv.validate(schema, JSON.parse(text)) || ajv.errorsText()).toBe(true)
}

/** Checks all calls of a choice, except one that is cut off. @returns the number of checked calls */
function validateCalls({ message, finish_reason }: OpenAI.ChatCompletion.Choice): number {
  const calls = message.tool_calls?.flatMap((call) => (call.type === "function" ? [call.function] : [])) ?? []
  if (finish_reason === "length") calls.pop()
  else expect(finish_reason).toBe(calls.length > 0 ? "tool_calls" : "stop")
  calls.forEach(validate)
  return calls.length
}

const request = <T extends Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>>(fields: T) => ({
  model: server.model.name,
  messages: [{ role: "user" as const, content: "Tell me a joke." }],
  tools,
  max_completion_tokens: 150,
  ...fields,
})

test("required calls occur and validate at any temperature", async () => {
  for (const temperature of [0, 1.5, 2]) {
    const n = temperature === 0 ? 1 : 3
    const { choices } = await server.client.chat.completions.create(
      request({ tool_choice: "required", temperature, n, seed: 7 }),
    )
    expect(choices.length).toBe(n)
    for (const choice of choices) {
      expect(choice.message.content).toBeNull()
      expect(validateCalls(choice)).toBeGreaterThan(0)
    }
  }
})

test("a named function is called once, plain and streamed", async () => {
  const named = request({
    tool_choice: { type: "function", function: { name: "order" } },
    temperature: 1.5,
    seed: 3,
  })
  const { choices } = await server.client.chat.completions.create(named)
  const stream = server.client.chat.completions.stream(named)
  const pieces: string[] = []
  for await (const chunk of stream)
    for (const delta of chunk.choices[0]?.delta.tool_calls ?? [])
      if (delta.function?.arguments) pieces.push(delta.function.arguments)
  const [call, ...others] = choices[0]?.message.tool_calls ?? []
  expect(others).toEqual([])
  if (call?.type !== "function") throw new Error("there is no call")
  expect(call.function.name).toBe("order")
  validate(call.function)
  expect(pieces.join("")).toBe(call.function.arguments)
  expect(pieces.length).toBeGreaterThan(5)
})

test("exactly one call with tool_choice required and without parallel calls", async () => {
  const single = { tool_choice: "required", parallel_tool_calls: false, temperature: 1.5, n: 6, seed: 5 } as const
  const { choices } = await server.client.chat.completions.create(request(single))
  for (const choice of choices) {
    expect(choice.finish_reason).toBe("tool_calls")
    expect(validateCalls(choice)).toBe(1)
  }
})

test("calls that the model begins by itself validate too", async () => {
  const ids = [...server.model.tokenizer.encode("<tool_call>")]
  const logit_bias = Object.fromEntries(ids.map((id) => [String(id), 9]))
  const { choices } = await server.client.chat.completions.create(
    request({ logit_bias, temperature: 1.5, n: 4, seed: 1 }),
  )
  const checked = choices.map(validateCalls)
  expect(Math.max(...checked)).toBeGreaterThan(0)
})

test("an answer without calls follows its response_format schema", async () => {
  const schema = {
    type: "object",
    properties: { mood: { enum: ["good", "bad"] } },
    required: ["mood"],
    additionalProperties: false,
  }
  const response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } } as const
  const { choices } = await server.client.chat.completions.create(
    request({ response_format, temperature: 1.5, n: 6, seed: 2, parallel_tool_calls: false }),
  )
  const answers = choices.filter((choice) => validateCalls(choice) === 0)
  expect(answers.length).toBeGreaterThan(0)
  for (const { message } of answers) expect(ajv.validate(schema, JSON.parse(message.content ?? ""))).toBe(true)
})

test("a call cut off by max_tokens has finish_reason length", async () => {
  const { choices } = await server.client.chat.completions.create(
    request({ tool_choice: "required", temperature: 0, max_completion_tokens: 20 }),
  )
  expect(choices[0]?.finish_reason).toBe("length")
})
