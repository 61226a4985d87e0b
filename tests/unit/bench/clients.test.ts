/** The scripted model of tests/bench/clients, behind the real server, and the table. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { joinModel, readModel } from "../../../src/engine/load.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { CLIENTS, ENVIRONMENTS } from "../../bench/clients/clients.ts"
import { ScriptedEngine } from "../../bench/clients/engine.ts"
import { answerTo, GREETING, SCRIPT_TEMPLATE } from "../../bench/clients/script.ts"
import { tableOf } from "../../bench/clients/table.ts"
import { serveModel, type TestServer } from "../../support/http.ts"
import { type TinyModelFile, withTinyModel } from "../../support/tiny-model.ts"

let file: TinyModelFile
let server: TestServer
const TOOL = {
  type: "function" as const,
  function: {
    name: "add",
    parameters: {
      type: "object",
      properties: { a: { type: "integer" } },
      required: ["a"],
      additionalProperties: false,
    },
  },
}
const ASK = 'Add. <<call add {"a": 41}>> <<say The sum is {result}.>>'

beforeAll(async () => {
  file = await withTinyModel()
  const text = await readModel(file.path)
  const { config } = text.definition
  const engine = new ScriptedEngine({
    tokenizer: text.tokenizer,
    path: file.path,
    nVocab: config.nVocab,
    width: config.hiddenSize,
    contextLength: 100_000,
  })
  const loaded = { engine, device: { backend: "none", name: "script" }, threads: 1, memory: { weights: 0, cache: 0 } }
  server = await serveModel(joinModel({ ...text, chatTemplate: new ChatTemplate(SCRIPT_TEMPLATE) }, loaded, "scripted"))
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await file[Symbol.asyncDispose]()
})

const ask = (content: string, more: object = {}) =>
  server.client.chat.completions.create({ model: "scripted", messages: [{ role: "user", content }], ...more })

test("a message without directives is greeted", async () => {
  const { choices } = await ask("hi")
  expect(choices[0]?.message.content).toBe(GREETING)
})

test("the script's tool is called, and its result is said", async () => {
  const first = (await ask(ASK, { tools: [TOOL] })).choices[0]?.message
  const call = first?.tool_calls?.[0]
  expect(call).toMatchObject({ function: { name: "add", arguments: '{"a": 41}' } })
  const { choices } = await server.client.chat.completions.create({
    model: "scripted",
    tools: [TOOL],
    messages: [
      { role: "user", content: ASK },
      { role: "assistant", tool_calls: first?.tool_calls },
      { role: "tool", tool_call_id: call?.id ?? "", content: "42" },
    ],
  })
  expect(choices[0]?.message.content).toBe("The sum is 42.")
})

test("a constraint applies: a script that violates it is dropped", async () => {
  const schema = {
    type: "object",
    properties: { n: { type: "integer" } },
    required: ["n"],
    additionalProperties: false,
  }
  const form = { response_format: { type: "json_schema", json_schema: { name: "n", strict: true, schema } } }
  expect((await ask('x <<say {"n": 7}>>', form)).choices[0]?.message.content).toBe('{"n": 7}')
  const text = (await ask("x <<say no JSON>>", form)).choices[0]?.message.content
  expect(Object.keys(JSON.parse(text ?? ""))).toEqual(["n"])
})

test("embeddings depend on the text", async () => {
  const { data } = await server.client.embeddings.create({ model: "scripted", input: ["one text", "another"] })
  const [a, b] = data.map(({ embedding }) => embedding)
  expect(a?.length).toBe(server.model.config.hiddenSize)
  expect(a).not.toEqual(b)
})

test("calls are made one after another, by the end of a tool's name, and quoted directives are read", () => {
  const tools = ["mcp__files__read", "write"].map((name) => ({ type: "function", function: { name } }))
  const template = new ChatTemplate(SCRIPT_TEMPLATE)
  const user = { role: "user" as const, content: '<<call read {"p": 1}>> <<call write {\\"p\\": 2}>>' }
  const result = { role: "tool" as const, content: "done" }
  const answer = (...messages: Parameters<ChatTemplate["render"]>[0]["messages"]) =>
    answerTo(template.render({ messages, tools }))
  expect(answer(user)).toContain('{"name": "mcp__files__read", "arguments": {"p": 1}}')
  expect(answer(user, result)).toContain('{"name": "write", "arguments": {"p": 2}}')
  expect(answer(user, result, result)).toBe("done")
})

test("each client has a name of its own and a package of its environment", () => {
  expect(new Set(CLIENTS.map(({ name }) => name)).size).toBe(CLIENTS.length)
  const packages = (name: keyof typeof ENVIRONMENTS) =>
    ENVIRONMENTS[name].packages.map((text) => /^@?[^@[<]+/.exec(text)?.[0])
  expect(CLIENTS.filter((client) => !packages(client.environment).includes(client.package))).toEqual([])
})

test("the table shows each outcome, and why something failed", () => {
  const outcomes = new Map([
    ["chat", { ok: true }],
    ["tools", { ok: false, reason: "no\n call" }],
  ] as const)
  expect(tableOf([{ name: "x", version: "1", outcomes }]).split("\n")).toEqual([
    "| client | version | chat | stream | tools | structured | embeddings |",
    "| ---    | ---     | ---  | ---    | ---   | ---        | ---        |",
    "| x      | 1       | pass | –      | FAIL  | –          | –          |",
    "",
    "1 of 2 pass",
    "x, tools: no call",
  ])
})
