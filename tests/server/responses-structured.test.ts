/** Structured output of `/v1/responses`, by the real model, with the official client and its helpers. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod"
import { z } from "zod"
import { resolveModel } from "../../src/store/resolve.ts"
import { serveFile, type TestServer } from "../support/http.ts"

let server: TestServer
let responses: OpenAI.Responses
let model: string

beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 2048 })
  responses = server.client.responses
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const Person = z.object({
  name: z.string().max(40),
  age: z.int().min(0).max(130),
  tags: z.array(z.string().max(20)).max(3),
})
const format = zodTextFormat(Person, "person", { description: "Somebody." })
const ask = () => ({ model, input: "Make up a person, as JSON.", max_output_tokens: 300 })

test("follows a schema, plain and streamed; the client's helper parses it, and the response repeats the format", async () => {
  const body = { ...ask(), text: { format }, temperature: 0 }
  const parsed = await responses.parse(body)
  expect(parsed.status).toBe("completed")
  expect(parsed.output_parsed).toEqual(Person.parse(JSON.parse(parsed.output_text)))
  const { name, description, schema } = format
  expect(parsed.text?.format).toEqual({ type: "json_schema", name, description, schema, strict: true })
  const streamed = await responses.stream(body).finalResponse()
  expect(streamed.output_parsed).toEqual(parsed.output_parsed)
  const kept = await responses.retrieve(parsed.id)
  expect([kept.output_text, kept.text]).toEqual([parsed.output_text, parsed.text])
})

test("follows a schema at a high temperature", async () => {
  const made = await Promise.all(
    Array.from({ length: 4 }, (_, seed) =>
      responses.create({
        ...ask(),
        text: { format },
        temperature: 1.5,
        seed,
      } as OpenAI.Responses.ResponseCreateParamsNonStreaming),
    ),
  )
  const whole = made.filter(({ status }) => status === "completed")
  expect(whole.length).toBeGreaterThan(0)
  for (const { output_text } of whole) Person.parse(JSON.parse(output_text))
  for (const { status } of made) expect(status).toMatch(/^(completed|incomplete)$/)
})

test("an answer that is cut off is incomplete", async () => {
  const response = await responses.parse({ ...ask(), text: { format }, max_output_tokens: 4 })
  expect(response).toMatchObject({
    status: "incomplete",
    incomplete_details: { reason: "max_output_tokens" },
    output: [{ status: "incomplete" }],
  })
  expect(response.output_parsed).toBeNull()
})

test("follows json_object, a regular expression and a grammar", async () => {
  const object = await responses.create({ ...ask(), text: { format: { type: "json_object" } }, temperature: 0 })
  expect(object.text?.format).toEqual({ type: "json_object" })
  if (object.status === "completed") expect(JSON.parse(object.output_text)).toBeObject()
  else expect(object.output_text).toStartWith("{")
  const form = async (fields: object) =>
    (await responses.create({ ...ask(), ...fields } as OpenAI.Responses.ResponseCreateParamsNonStreaming)).output_text
  expect(await form({ regex: "[a-c]{3}-\\d{2}" })).toMatch(/^[a-c]{3}-\d{2}$/)
  expect(await form({ grammar: 'root ::= "yes" | "no"' })).toMatch(/^(yes|no)$/)
})

test("with functions, the output is either calls or text in the format", async () => {
  const add = zodResponsesFunction({ name: "add", parameters: z.object({ a: z.int(), b: z.int() }) })
  const body = { ...ask(), text: { format }, tools: [add], temperature: 1 }
  for (const tool_choice of ["none", "required", "auto"] as const) {
    const { status, output, output_text } = await responses.create({ ...body, tool_choice })
    if (status !== "completed") continue
    const calls = output.filter((item) => item.type === "function_call")
    for (const { arguments: text } of calls) expect(Object.keys(JSON.parse(text))).toEqual(["a", "b"])
    if (tool_choice === "none") expect(calls).toEqual([])
    if (tool_choice === "required") expect(calls.length).toBeGreaterThan(0)
    if (calls.length === 0) Person.parse(JSON.parse(output_text))
  }
})

describe("invalid formats are refused", () => {
  const unsupported = "unsupported_parameter"
  const tools = [{ type: "function", name: "f" }]
  test.each([
    [{ text: { format: { type: "json_schema", name: "a b", schema: {} } } }, "text.format.name", "invalid_value"],
    [{ text: { format: { type: "json_schema", name: "x" } } }, "text.format.schema", "missing_required_parameter"],
    [{ text: { format: { type: "xml" } } }, "text.format.type", "invalid_value"],
    [
      { text: { format: { type: "json_schema", name: "x", schema: { type: "object", properties: 1 } } } },
      "text.format",
      "invalid_constraint",
    ],
    [{ text: { format: { type: "json_object" } }, regex: "a" }, "regex", unsupported],
    [{ regex: "a", tools }, "regex", unsupported],
    [{ text: { format: { type: "json_object" } }, ignore_eos: true }, "ignore_eos", unsupported],
    [{ regex: "(" }, "regex", "invalid_constraint"],
    [{ grammar: "root ::=" }, "grammar", "invalid_constraint"],
  ])("%j names %s", async (fields, param, code) => {
    for (const stream of [false, true]) {
      const body = { ...ask(), ...fields, stream } as OpenAI.Responses.ResponseCreateParams
      const error = await responses.create(body).then(
        () => undefined,
        (thrown) => thrown,
      )
      expect([error?.status, error?.param, error?.code]).toEqual([400, param, code])
      expect(error.message).toContain(`'${param}'`)
    }
  })
})
