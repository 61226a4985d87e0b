/** Constraint and parser agree on the form of calls: any answer that the constraint allows is parsed as calls that validate. */

import { describe, expect, test } from "bun:test"
import Ajv from "ajv"
import type { Form } from "../../../../src/grammar/constraint.ts"
import type { ChatRequest } from "../../../../src/server/chat/request.ts"
import { planTools } from "../../../../src/server/chat/tools.ts"
import { ChatTemplate } from "../../../../src/text/chat-template.ts"
import { writeCalls } from "../../../../src/text/tools/format.ts"
import { ToolCallSplitter } from "../../../../src/text/tools/splitter.ts"
import { scriptEngine, scriptModel } from "../../../server/support/script-model.ts"
import { accepts, compiled, randomNumbers, randomText, tinyVocabulary } from "../../../support/grammar.ts"

const vocabulary = tinyVocabulary()
const SCHEMAS: Record<string, Record<string, unknown>> = {
  ask: {
    type: "object",
    properties: { text: { type: "string", maxLength: 8 }, n: { type: "integer", minimum: 0, maximum: 20 } },
    required: ["text"],
    additionalProperties: false,
  },
  "list.all": {
    type: "object",
    properties: { of: { enum: ["}", "]</tool_call>", "[TOOL_CALLS]"] } },
    required: ["of"],
  },
}
const tools = Object.entries(SCHEMAS).map(([name, parameters]) => ({
  name,
  parameters,
}))
const ajv = new Ajv({ strict: false })
const TEMPLATES = {
  hermes: "{{ tools }} <tool_call>",
  smollm: "SmolLM",
  mistral: "{{ tools }} [TOOL_CALLS]",
  "mistral-spaced": "{{ tools }} [TOOL_CALLS] [",
  "mistral-args": "{{ tools }} [TOOL_CALLS] [ARGS]",
  llama3: '{{ tools }} <|start_header_id|> "parameters"',
}

function setUp(template: string, request: Omit<ChatRequest, "messages">) {
  const model = scriptModel(scriptEngine({ tokens: [] }), "script", { chatTemplate: new ChatTemplate(template) })
  const { calling, constraint } = planTools(model, request)
  if (calling === undefined || constraint === undefined) throw new Error("there are tools")
  return { calling, masks: compiled(constraint, vocabulary.trie) }
}

test("an answer without calls can have a constraint of its own", () => {
  const schema = {
    type: "object",
    properties: { ok: { type: "boolean" } },
    required: ["ok"],
    additionalProperties: false,
  }
  const masksOf = (form: Form) => setUp(TEMPLATES.hermes, { tools, form: { form, field: "responseFormat" } }).masks
  const call = '<tool_call>\n{"name": "ask", "arguments": {"text": ""}}\n</tool_call>'
  const validating = masksOf({ type: "json_schema", schema })
  for (const text of [call, '{"ok": true}']) expect(accepts(validating, vocabulary, text)).toBe(true)
  for (const text of ["", "Well.", '{"no": true}', `{"ok": true}${call}`, `Well, ${call}`])
    expect(accepts(validating, vocabulary, text)).toBe(false)
  const object = masksOf({ type: "json_object" })
  for (const text of [call, '{"no": [1]}']) expect(accepts(object, vocabulary, text)).toBe(true)
  for (const text of ["[]", "Well."]) expect(accepts(object, vocabulary, text)).toBe(false)
})

test("the places that a schema's calls need not keep are named, unless the tool is strict", () => {
  const model = scriptModel(scriptEngine({ tokens: [] }), "script", {
    chatTemplate: new ChatTemplate(TEMPLATES.hermes),
  })
  const properties = { a: { type: "string", pattern: "(x)\\1" }, b: { type: "integer" } }
  const tool = { name: "f", parameters: { type: "object", properties } }
  expect(planTools(model, { tools: [...tools, tool] }).relaxed).toEqual([
    "tools[2].parameters: \\1 at character 5 of the pattern is not supported (in the schema at #/properties/a)",
  ])
  const strict = () => planTools(model, { tools: [...tools, { ...tool, strict: true }] })
  expect(strict).toThrow("in the schema at #/properties/a")
})

test("SmolLM2 writes an empty list when it makes no call", () => {
  const none = "<tool_call>[]</tool_call>"
  const { calling, masks } = setUp(TEMPLATES.smollm, { tools })
  expect(accepts(masks, vocabulary, none)).toBe(true)
  expect(read(calling, none)).toEqual({ content: "", calls: [] })
  expect(accepts(setUp(TEMPLATES.smollm, { tools, toolChoice: "required" }).masks, vocabulary, none)).toBe(false)
  expect(accepts(setUp(TEMPLATES.mistral, { tools }).masks, vocabulary, "[TOOL_CALLS][]")).toBe(false)
})

function read({ format, names }: ReturnType<typeof setUp>["calling"], text: string) {
  const splitter = new ToolCallSplitter(format, names)
  let content = ""
  const calls: { name: string; arguments: string }[] = []
  for (const piece of [...splitter.push(text), ...splitter.flush()])
    if (piece.type === "content") content += piece.text
    else if (piece.type === "call") calls.push({ name: piece.name, arguments: "" })
    else (calls.at(-1) ?? { arguments: "" }).arguments += piece.text
  return { content, calls }
}

describe.each(Object.entries(TEMPLATES))("%s", (name, template) => {
  test("any answer that the constraint allows is parsed as calls that validate", () => {
    for (const parallelToolCalls of [true, false]) {
      const { calling, masks } = setUp(template, { tools, toolChoice: "required", parallelToolCalls })
      expect(calling.format.name).toBe(name)
      const random = randomNumbers(5)
      let n_read = 0
      for (let i = 0; i < 60; i++) {
        const text = randomText(masks, vocabulary, random, { patience: 150, limit: 1500 })
        if (text === undefined) continue
        const { content, calls } = read(calling, text)
        expect(content).toBe("")
        expect(calls.length).toBeGreaterThan(0)
        if (!parallelToolCalls) expect(calls.length).toBe(1)
        for (const call of calls) {
          const schema = SCHEMAS[call.name] ?? false
          expect(ajv.validate(schema, JSON.parse(call.arguments)) || ajv.errorsText()).toBe(true)
        }
        n_read++
      }
      expect(n_read).toBeGreaterThan(30)
    }
  })

  test("well-formed calls are allowed, alone and within text", () => {
    const made = [
      { name: "ask", arguments: '{"text": "é", "n": 7}' },
      { name: "list.all", arguments: '{"of":"}"}' },
    ]
    const auto = setUp(template, { tools })
    const text = writeCalls(auto.calling.format.spelling, made)
    expect(read(auto.calling, text)).toEqual({ content: "", calls: made })
    for (const said of [text, `Well, ${text}`, "Well.", ""]) expect(accepts(auto.masks, vocabulary, said)).toBe(true)
    expect(accepts(auto.masks, vocabulary, text.replace("7", "21"))).toBe(false)
    const required = setUp(template, { tools, toolChoice: "required" }).masks
    expect(accepts(required, vocabulary, text)).toBe(true)
    for (const said of [`Well, ${text}`, "Well.", ""]) expect(accepts(required, vocabulary, said)).toBe(false)
    const one = setUp(template, { tools, toolChoice: { function: "ask" } })
    const [ask = [], list = []] = made.map((call) => [call])
    expect(accepts(one.masks, vocabulary, writeCalls(one.calling.format.spelling, ask))).toBe(true)
    for (const other of [list, made])
      expect(accepts(one.masks, vocabulary, writeCalls(one.calling.format.spelling, other))).toBe(false)
  })
})
