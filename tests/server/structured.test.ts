/** Structured output of SmolLM2 with the official client. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import OpenAI from "openai"
import { zodResponseFormat } from "openai/helpers/zod"
import { z } from "zod"
import { resolveModel } from "../../src/store/resolve.ts"
import { serveFile, type TestServer } from "../support/http.ts"
import { validatorFor } from "../support/json-schemas.ts"

let server: TestServer
let client: OpenAI
let model: string

beforeAll(async () => {
  server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 1024 })
  client = server.client
  model = server.model.name
})
afterAll(() => server[Symbol.asyncDispose]())

const schema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 24 },
    age: { type: "integer", minimum: 0, maximum: 150 },
    tags: { type: "array", items: { type: "string", pattern: "^[a-z]{3,8}$" }, maxItems: 3 },
    kind: { enum: ["poet", "pilot"] },
  },
  required: ["name", "age", "tags", "kind"],
  additionalProperties: false,
}
const validate = validatorFor(schema)
const json_schema = { name: "person", schema, strict: true }
const messages = [{ role: "user" as const, content: "Describe a person as JSON." }]
const person = { messages, response_format: { type: "json_schema" as const, json_schema }, max_tokens: 200 }
const base = () => ({ ...person, model })

describe("response_format", () => {
  test.each([0, 1, 1.5, 2])("json_schema at temperature %d: every choice validates", async (temperature) => {
    const { choices } = await client.chat.completions.create({ ...base(), temperature, n: 2, seed: 3 })
    expect(choices).toHaveLength(2)
    for (const { message, finish_reason } of choices) {
      expect(finish_reason).toBe("stop")
      expect(validate(JSON.parse(message.content ?? ""))).toBeUndefined()
    }
  })

  test("streamed: the same text in pieces", async () => {
    const request = { ...base(), temperature: 1.5, seed: 11 }
    const { choices } = await client.chat.completions.create(request)
    const stream = await client.chat.completions.create({ ...request, stream: true })
    const parts: string[] = []
    for await (const chunk of stream) parts.push(chunk.choices[0]?.delta.content ?? "")
    expect(parts.join("")).toBe(choices[0]?.message.content ?? "")
    expect(parts.length).toBeGreaterThan(5)
  })

  test("the client's own helper parses the answer", async () => {
    const Person = z.object({
      name: z.string().max(12),
      married: z.boolean(),
      born: z.number().int().min(1900).max(2020),
    })
    const { choices } = await client.chat.completions.parse({
      model,
      messages,
      response_format: zodResponseFormat(Person, "person"),
      max_tokens: 100,
    })
    expect(Person.parse(choices[0]?.message.parsed)).toEqual(choices[0]?.message.parsed as never)
  })

  test("json_object: any object", async () => {
    const { choices } = await client.chat.completions.create({
      ...base(),
      response_format: { type: "json_object" },
      temperature: 0,
      max_tokens: 300,
    })
    const { finish_reason, message } = choices[0] ?? {}
    expect(message?.content).toStartWith("{")
    if (finish_reason === "stop") expect(JSON.parse(message?.content ?? "")).toBeObject()
    else expect(finish_reason).toBe("length")
  })

  test("text: no constraint", async () => {
    const request = { model, messages, max_tokens: 12, temperature: 0 }
    const [plain, text] = await Promise.all([
      client.chat.completions.create(request),
      client.chat.completions.create({ ...request, response_format: { type: "text" } }),
    ])
    expect(text.choices[0]?.message.content).toBe(plain.choices[0]?.message.content as string)
  })

  test("an answer that is cut off has finish_reason length", async () => {
    const { choices } = await client.chat.completions.create({ ...base(), max_tokens: 6 })
    expect(choices[0]?.finish_reason).toBe("length")
    expect(() => JSON.parse(choices[0]?.message.content ?? "")).toThrow()
  })

  test("twelve at once, some without a format: each follows its own", async () => {
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, i) => {
        if (i % 3 === 2) return client.chat.completions.create({ model, messages, max_tokens: 20, temperature: 0 })
        return client.chat.completions.create({ ...base(), temperature: 1.2, seed: i })
      }),
    )
    for (const [i, { choices }] of answers.entries()) {
      const content = choices[0]?.message.content ?? ""
      if (i % 3 === 2) expect(content).toBe(answers[2]?.choices[0]?.message.content as string)
      else expect(validate(JSON.parse(content))).toBeUndefined()
    }
  })
})

const extended = (fields: object) =>
  client.chat.completions.create({
    model,
    messages,
    max_tokens: 60,
    temperature: 1.5,
    ...fields,
  } as never) as Promise<OpenAI.ChatCompletion>

describe("extensions", () => {
  test.each([
    [{ regex: "(yes|no), [0-9]{2}%" }, /^(yes|no), [0-9]{2}%$/],
    [{ grammar: 'root ::= ("a" | "é"){3} " " [^a-z]{2}' }, /^[aé]{3} [^a-z]{2}$/u],
    [{ structured_outputs: { choice: ["a (b)", "c.d"] } }, /^(a \(b\)|c\.d)$/],
    [{ structured_outputs: { regex: "x{3,5}" } }, /^x{3,5}$/],
    [{ structured_outputs: { json: { const: { a: [1] } } } }, /^{"a":\[1\]}$/],
    [{ structured_outputs: { grammar: 'root ::= "ok"' } }, /^ok$/],
  ])("%j", async (fields, form) => {
    const { choices } = await extended(fields)
    expect(choices[0]?.message.content).toMatch(form)
    expect(choices[0]?.finish_reason).toBe("stop")
  })

  test("completions follow them too, for each prompt and choice, plain and streamed", async () => {
    const request = { model, prompt: ["One:", "Two:"], n: 2, max_tokens: 20, temperature: 1.5, regex: " [a-z]{4}" }
    const { choices } = await client.completions.create(request)
    expect(choices).toHaveLength(4)
    for (const { text } of choices) expect(text).toMatch(/^ [a-z]{4}$/)
    const format = {
      ...request,
      regex: undefined,
      prompt: "A person:",
      n: 1,
      max_tokens: 200,
      response_format: person.response_format,
    }
    let text = ""
    for await (const chunk of await client.completions.create({ ...format, stream: true }))
      text += chunk.choices[0]?.text ?? ""
    expect(validate(JSON.parse(text))).toBeUndefined()
  })
})

const refusal = async (fields: object) => {
  const error = await extended(fields).catch((cause) => cause)
  expect(error).toBeInstanceOf(OpenAI.BadRequestError)
  return error as InstanceType<typeof OpenAI.BadRequestError>
}
const format = (schema: object) => ({ response_format: { type: "json_schema", json_schema: { name: "x", schema } } })

/** Each rule can return to two places, so that there are 2^20 ways to read a "c". */
const AMBIGUOUS = [
  "root ::= r0",
  ...Array.from({ length: 20 }, (_, i) => `r${i} ::= r${i + 1} "a" | r${i + 1} "b"`),
  'r20 ::= "c"',
].join("\n")

describe("unsupported formats are refused by name", () => {
  test.each([
    [format({ not: {} }), "response_format", "no value is valid"],
    [
      format({ type: "object", properties: { a: { type: "array", contains: {}, maxContains: 1 } } }),
      "response_format",
      "#/properties/a",
    ],
    [format({ $ref: "#/$defs/x" }), "response_format", "does not exist"],
    [
      { response_format: { type: "json_schema", json_schema: { schema: [] } } },
      "response_format.json_schema.schema",
      "",
    ],
    [{ guided_json: "{" }, "guided_json", "expected a JSON schema"],
    [{ guided_json: { not: {} } }, "guided_json", "no value is valid"],
    [{ structured_outputs: { structural_tag: "{}" } }, "structured_outputs.structural_tag", "not supported"],
    [{ response_format: { type: "xml" } }, "response_format.type", ""],
    [{ regex: "a(?<!b)" }, "regex", "looking behind"],
    [{ regex: "a(" }, "regex", ""],
    [{ grammar: "root = x" }, "grammar", "line 1"],
    [{ grammar: "root ::= x" }, "grammar", "no rule named 'x'"],
    [{ grammar: 'root ::= root "a" | "b"' }, "grammar", "calls itself"],
    [{ structured_outputs: { regex: "a", grammar: "b" } }, "structured_outputs", "needs one of"],
    [{ regex: "a", grammar: 'root ::= "a"' }, "grammar", "already gives the form of the text"],
    [{ regex: "a", ignore_eos: true }, "ignore_eos", "must be able to end"],
    [{ regex: "a", tools: [{ type: "function", function: { name: "f" } }] }, "regex", "together with tools"],
    [{ grammar: AMBIGUOUS }, "grammar", "too many ways"],
    [{ regex: "a", stream: true, grammar: "b" }, "grammar", "already gives the form of the text"],
    [{ grammar: AMBIGUOUS, stream: true }, "grammar", "too many ways"],
  ])("%j", async (fields, param, reason) => {
    const error = await refusal(fields)
    expect(error.param).toBe(param)
    expect(error.message).toContain(reason)
    expect(error.type).toBe("invalid_request_error")
  })
})
