/** Fields that change a chat's prompt, the form of its answer, and where its reasoning is. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { post as postTo } from "../support/http.ts"
import { choice, requester, shown } from "./support/openai-requests.ts"
import { byteTokenizer, type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

const TEXT = "hello world"
const MESSAGES = [{ role: "user", content: "hi" }]
let server: ScriptedServer
beforeAll(async () => {
  server = await serveScript({ tokens: saying(TEXT) })
})
afterAll(() => server[Symbol.asyncDispose]())

const chat = () => requester(server)

describe("older and other names of a form", () => {
  const schema = { type: "object", properties: { a: { type: "integer" } } }
  const json = { type: "json_schema", schema: JSON.stringify(schema) }
  test.each([
    [{ response_format: { type: "json_object", schema } }, json],
    [{ response_format: { type: "json_schema", schema } }, json],
    [{ response_format: { type: "json_schema", json_schema: { schema } } }, json],
    [{ response_format: { type: "json_schema", json_schema: { name: "a b" } } }, { type: "json_object" }],
    [{ response_format: { type: "json_object", schema: {} } }, { type: "json_object" }],
    [{ json_schema: schema }, json],
    [{ json_schema: JSON.stringify(schema) }, json],
    [{ guided_json: schema, guided_decoding_backend: "x" }, json],
    [{ guided_json: JSON.stringify(schema) }, json],
    [{ structured_outputs: { json: JSON.stringify(schema), disable_any_whitespace: true } }, json],
    [{ structured_outputs: { json_object: true } }, { type: "json_object" }],
    [{ guided_regex: "[a-z]+" }, { type: "regex", pattern: "[a-z]+" }],
    [{ guided_choice: ["a", "b.c"] }, { type: "regex", pattern: "a|b\\.c" }],
    [{ guided_grammar: 'root ::= "a"' }, { type: "grammar", grammar: 'root ::= "a"' }],
    [{ format: "json" }, { type: "json_object" }],
    [{ format: schema }, json],
  ])("%j", async (fields, constraint) => {
    for (const to of [chat(), requester(server, "completions")]) {
      await to.ask(fields)
      expect(to.seen()?.constraint).toMatchObject(constraint)
    }
  })

  test("neutral values ask for no form", async () => {
    await chat().ask({ format: "", guided_json: null, response_format: { type: "text" }, json_schema: null })
    expect(chat().seen()?.constraint).toBeUndefined()
  })

  test.each([
    [{ guided_json: schema, json_schema: schema }, "guided_json"],
    [{ guided_regex: "(?<=a)b" }, "guided_regex"],
  ])("%j is refused: %s", async (fields, param) => {
    const error = await chat().refusal(fields)
    expect(error.param).toBe(param)
    expect(error.message).toContain(param)
  })
})

describe("stop strings and the strings of JSON", () => {
  const JSON_TEXT = '{"city": "Oslo", "x\\"y": 1}'
  const form = { response_format: { type: "json_object" } }
  const contentWith = async (fields: object) => {
    await using own = await serveScript({ tokens: saying(JSON_TEXT) })
    return shown(await requester(own).ask({ ...form, ...fields }))
  }

  test.each(["Oslo", "city", "y", '"', '": '])("%j does not count in them", async (stop) => {
    expect(await contentWith({ stop })).toBe(JSON_TEXT)
  })
  test("counts between them", async () => {
    expect(await contentWith({ stop: ", " })).toBe('{"city": "Oslo"')
  })
  test("counts in them with stop_everywhere", async () => {
    expect(await contentWith({ stop: "slo", stop_everywhere: true })).toBe('{"city": "O')
  })
})

describe("the chat template of a request", () => {
  const documents = [{ title: "a", text: "b" }]

  test("is used instead of the model's", async () => {
    await chat().ask({
      chat_template: "<{{ messages[0].content }}|{{ colour }}>",
      chat_template_kwargs: { colour: "red" },
    })
    expect(chat().prompt()).toBe("<hi|red>")
    const applied = await postTo(`${server.url}/apply-template`, {
      messages: MESSAGES,
      chat_template: "[{{ messages[0].content }}]",
    })
    expect(await applied.json()).toEqual({ prompt: "[hi]" })
  })

  test("is stopped when it runs for too long, or builds too long a text", async () => {
    const loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    for (const [template, code] of [
      [loop, "chat_template_timeout"],
      [
        "{% set ns = namespace(x='a' * 4) %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        /^chat_template_/,
      ],
    ] as const) {
      const error = await chat().refusal({ chat_template: template })
      expect(error.param).toBe("chat_template")
      expect(error.code).toMatch(code)
    }
  })

  test("gets the documents, if it knows them", async () => {
    await chat().ask({ documents, chat_template: "{{ documents[0].text }}" })
    expect(chat().prompt()).toBe("b")
    await chat().ask({ documents })
    expect(chat().prompt()).toBe("hi")
  })

  test("decides where calls are, and whether the model thinks", async () => {
    await using own = await serveScript({ tokens: saying("Hm.</think>4") })
    const template = "{{ messages[0].content }}<think>{# </think> #}"
    expect(choice(await requester(own).ask({ chat_template: template })).message).toMatchObject({
      content: "4",
      reasoning_content: "Hm.",
    })
    expect(choice(await requester(own).ask({})).message).toMatchObject({ content: "Hm.</think>4" })
  })
})

describe("reasoning", () => {
  const THINKS = new ChatTemplate(
    "{{ messages[0].content }}{% if enable_thinking is defined and not enable_thinking %}<off>{% endif %}{# <think></think> #}",
  )
  const answers = { tokens: saying("<think>Hm.</think>4") }
  let thinking: ScriptedServer
  beforeAll(async () => {
    thinking = await serveScript(answers, {}, {}, { chatTemplate: THINKS })
  })
  afterAll(() => thinking[Symbol.asyncDispose]())

  test.each([
    { reasoning_effort: "none" },
    { reasoning: { effort: "none" } },
    { reasoning: { enabled: false } },
    { reasoning: { max_tokens: 0 } },
    { thinking: false },
    { thinking: { type: "disabled" } },
    { enable_thinking: false },
    { think: false },
    { think: "none" },
    { thinking_token_budget: 0 },
    { thinking_budget: 0 },
    { reasoning_budget: 0 },
    { reasoning_budget_tokens: 0 },
  ])("%j turns thinking off", async (fields) => {
    await requester(thinking).ask(fields)
    expect(requester(thinking).prompt()).toBe("hi<off>")
  })

  test.each([
    { reasoning_effort: "low" },
    { reasoning: { effort: "high", enabled: true } },
    { thinking: { type: "enabled", budget_tokens: 99 } },
    { thinking: { type: "adaptive" } },
    { think: "max" },
    { think: true },
    { reasoning_budget: -1 },
    {},
  ])("%j leaves it on", async (fields) => {
    await requester(thinking).ask(fields)
    expect(requester(thinking).prompt()).toBe("hi")
  })

  test("ends at its budget of tokens, and the answer follows", async () => {
    const close = "\n</think>\n\n"
    const answer = choice(await requester(thinking).ask({ thinking_token_budget: 2, n: 2, seed: 7, logprobs: true }))
    expect(answer.message).toMatchObject({ reasoning_content: "Hm", content: "<think>Hm.</think>4" })
    const [first, second, ...after] = thinking.engine.requests.slice(-4)
    expect([first?.sampling.seed, second?.sampling.seed]).toEqual([7n, 8n])
    for (const request of after) {
      expect(byteTokenizer.decode(request.tokens)).toBe(`hi<think>Hm${close}`)
      expect(request.maxTokens).toBe(50 - "<think>Hm".length - close.length)
    }
    expect(thinking.engine.running).toBe(0)
  })

  test("with a budget counts every token, and ends where no room is left for an answer", async () => {
    const { usage, choices } = await requester(thinking).ask({ reasoning: { max_tokens: 3 }, max_tokens: 15 })
    expect(choices[0]).toMatchObject({ finish_reason: "length", message: { reasoning_content: "Hm.", content: "" } })
    expect(usage?.completion_tokens).toBe("<think>Hm.".length + "\n</think>\n\n".length)
    const free = await requester(thinking).ask({ reasoning: { max_tokens: 99 } })
    expect(shown(free)).toBe("4")
  })

  test("with a budget leaves the form to the answer", async () => {
    const response_format = { type: "json_object" }
    await requester(thinking).ask({ thinking: { type: "enabled", budget_tokens: 1 }, response_format })
    const [first, after] = thinking.engine.requests.slice(-2)
    expect(first?.constraint).toHaveProperty("reasoning.close", "</think>")
    expect(after?.constraint).toMatchObject({ type: "json_object" })
    expect(after?.constraint?.reasoning).toBeUndefined()
  })

  const message = async (fields: object) => choice(await requester(thinking).ask(fields)).message
  test("is where reasoning_format puts it", async () => {
    for (const format of ["auto", "deepseek"])
      expect(await message({ reasoning_format: format })).toMatchObject({ content: "4", reasoning_content: "Hm." })
    const whole = "<think>\nHm.\n</think>\n\n4"
    expect(await message({ reasoning_format: "none" })).toEqual({
      role: "assistant",
      content: whole,
      refusal: null,
    })
    expect(await message({ reasoning_format: "deepseek-legacy" })).toMatchObject({
      content: whole,
      reasoning_content: "Hm.",
    })
  })

  test("is left out of the answer", async () => {
    const plain = { role: "assistant" as const, content: "4", refusal: null } as never
    expect(await message({ include_reasoning: false })).toEqual(plain)
    expect(await message({ reasoning: { exclude: true } })).toEqual(plain)
    const { logprobs } = choice(await requester(thinking).ask({ include_reasoning: false, logprobs: true }))
    expect(logprobs?.content?.length).toBe("<think>Hm.</think>4".length)
  })
})

test("the answer repeats the message that it continues", async () => {
  const messages = [...MESSAGES, { role: "assistant", content: "Well, " }]
  const answer = await chat().ask({ messages, continue_final_message: true, echo: true })
  expect(choice(answer).message.content).toBe(`Well, ${TEXT}`)
  const chunks = await chat().stream({ messages, continue_final_message: true, echo: true })
  const texts = chunks.map((chunk) => choice(chunk).delta?.content ?? "")
  expect(texts.join("")).toBe(`Well, ${TEXT}`)
  expect(choice(await chat().ask({ messages, continue_final_message: true })).message.content).toBe(TEXT)
})
