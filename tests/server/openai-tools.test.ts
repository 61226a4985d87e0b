/** Custom tools, the older form of functions, choices of tools, and histories as clients send them back. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { CustomInput, customArguments, customInput } from "../../src/server/chat/custom-tools.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { choice, requester } from "./support/openai-requests.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

/** Shows tools, and everything that templates see of a message. */
const TEMPLATE = new ChatTemplate(
  "{% if tools %}{{ tools | tojson }}{% endif %}{# <tool_call> #}{% for m in messages %}<{{ m.role }}>" +
    "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}{% for c in m.tool_calls %}" +
    "[{{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}{% if m.tool_call_id %}@{{ m.tool_call_id }}{% endif %};{% endfor %}",
)
const call = (name: string, args: object) => `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`

const serve = (answer: string) =>
  serveScript({ tokens: saying(answer) }, {}, { contextLength: 8192 }, { chatTemplate: TEMPLATE })

/** What tests read of a message or a delta. */
interface Calls {
  content: string | null
  tool_calls?: {
    index?: number
    type?: string
    id?: string
    custom?: { name?: string; input: string }
    function?: object
  }[]
  function_call?: { name?: string; arguments?: string }
}
const calls = (value: unknown) => value as Calls

/** The schemas to which the engine's last request holds its calls. */
const schemas = (to: ReturnType<typeof requester>): unknown[] => {
  const constraint = to.seen()?.constraint
  return constraint?.type === "tools" ? constraint.calls.map(({ parameters }) => JSON.parse(parameters)) : []
}

const F = { type: "function", function: { name: "f", parameters: { type: "object", properties: { x: {} } } } }
const G = { type: "function", function: { name: "g" } }
const MANY = { max_tokens: 500 }

describe("custom tools", () => {
  const PATCH = 'line "1"\n\\t é 😀 end'
  const TOOLS = [{ type: "custom", custom: { name: "patch", description: "Applies a patch." } }, G]
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serve(call("patch", { input: PATCH }) + call("g", {}))
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test("are offered as functions of one text, and called with that text", async () => {
    const to = requester(server)
    const answer = choice(await to.ask({ ...MANY, tools: TOOLS }))
    expect(answer.finish_reason).toBe("tool_calls")
    expect(calls(answer.message).tool_calls).toMatchObject([
      { type: "custom", custom: { name: "patch", input: PATCH } },
      { type: "function", function: { name: "g", arguments: "{}" } },
    ])
    expect(to.prompt()).toContain('"description": "Applies a patch."')
    expect(schemas(to)).toMatchObject([{ properties: { input: { type: "string" } }, required: ["input"] }, {}])
  })

  test("are streamed as the text", async () => {
    const chunks = await requester(server).stream({ ...MANY, tools: TOOLS })
    const deltas = chunks.flatMap((chunk) => calls(choice(chunk).delta)?.tool_calls ?? [])
    const custom = deltas.filter(({ index }) => index === 0)
    expect(custom[0]).toMatchObject({ type: "custom", custom: { name: "patch", input: "" } })
    expect(custom.map((delta) => delta.custom?.input).join("")).toBe(PATCH)
    expect(custom.length).toBeGreaterThan(10)
    expect(deltas.filter(({ index }) => index === 1)[0]).toMatchObject({ type: "function", function: { name: "g" } })
    expect(choice(chunks.at(-1)).finish_reason).toBe("tool_calls")
  })

  test("keep to an expression, and show a Lark grammar to the model", async () => {
    const to = requester(server)
    const grammar = (syntax: string, definition: string) => [
      { type: "custom", custom: { name: "patch", format: { type: "grammar", grammar: { syntax, definition } } } },
    ]
    await to.ask({ ...MANY, tools: grammar("regex", "[a-z]+|x") })
    expect(schemas(to)).toMatchObject([{ properties: { input: { pattern: "^(?:[a-z]+|x)$" } } }])
    await to.ask({ ...MANY, tools: grammar("lark", 'start: "a"') })
    expect(to.prompt()).toContain("Lark grammar:")
    expect((await to.refusal({ tools: grammar("regex", "(?=a)") })).param).toBe("tools[0].function.parameters")
  })

  test("their earlier calls are shown to the model", async () => {
    const to = requester(server)
    const made = { id: "c1", type: "custom", custom: { name: "patch", input: 'a"b' } }
    await to.ask({
      messages: [
        { role: "assistant", tool_calls: [made] },
        { role: "tool", tool_call_id: "c1", content: "ok" },
      ],
    })
    expect(to.prompt()).toBe('<assistant>[c1 patch {"input": "a\\"b"}];<tool>ok@c1;')
  })

  test("their input is read however its JSON is cut", () => {
    const input = 'a"\\/\b\f\n\r\té\u{1f600}\ud83d!\u0001'
    for (const json of [customArguments(input), '{ "input" :"\\ud83d\\ude00\\u00e9\\/" }']) {
      const expected = (JSON.parse(json) as { input: string }).input
      for (let size = 1; size < json.length; size++) {
        const reader = new CustomInput()
        let text = ""
        for (let at = 0; at < json.length; at += size) text += reader.push(json.slice(at, at + size))
        expect(text).toBe(expected)
      }
    }
    expect(customInput('{"input": "cut \\u00')).toBe("cut ")
    expect(customInput('{"in')).toBe("")
  })
})

describe("the older form of functions", () => {
  const functions = [F.function, G.function]
  const answer = call("f", { x: 1 })

  test("gives one function_call, plain and streamed", async () => {
    await using server = await serve(answer)
    const to = requester(server)
    const plain = choice(await to.ask({ ...MANY, functions }))
    expect(plain.finish_reason).toBe("function_call")
    expect(plain.message).toEqual({
      role: "assistant",
      content: null,
      function_call: { name: "f", arguments: '{"x":1}' },
      refusal: null,
    } as never)
    expect(to.seen()?.constraint).toMatchObject({ type: "tools", parallel: false })
    const chunks = await to.stream({ ...MANY, functions })
    const deltas = chunks.flatMap((chunk) => calls(choice(chunk).delta)?.function_call ?? [])
    expect(deltas[0]).toEqual({ name: "f", arguments: "" })
    expect(deltas.map((delta) => delta.arguments).join("")).toBe('{"x":1}')
    expect(choice(chunks.at(-1)).finish_reason).toBe("function_call")
  })

  test.each([
    ["auto", { required: false }, 2],
    [{ name: "g" }, { required: true }, 1],
  ])("function_call %j", async (function_call, constraint, count) => {
    await using server = await serve("Hm.")
    const to = requester(server)
    await to.ask({ functions, function_call })
    expect(to.seen()?.constraint).toMatchObject(constraint)
    expect(to.seen()?.constraint).toHaveProperty("calls.length", count)
    await to.ask({ functions, function_call: "none" })
    expect(to.seen()?.constraint).toBeUndefined()
  })
})

describe("tool_choice", () => {
  const one = { required: true, calls: [{ begin: expect.stringContaining('"f"') }] }
  const named = { type: "function", function: { name: "f" } }
  test.each([
    ["auto", { required: false, calls: [{}, {}] }],
    ["any", { required: true, calls: [{}, {}] }],
    ["required", { required: true, calls: [{}, {}] }],
    [{ type: "any" }, { required: true, calls: [{}, {}] }],
    [{ type: "auto" }, { required: false, calls: [{}, {}] }],
    [named, one],
    [{ type: "function", name: "f" }, one],
    [{ type: "tool", name: "f" }, one],
    [{ name: "f" }, one],
    [{ function: { name: "f" } }, one],
    [{ type: "allowed_tools", allowed_tools: { mode: "required", tools: [named] } }, one],
    [
      { type: "allowed_tools", mode: "auto", tools: [named] },
      { ...one, required: false },
    ],
  ])("%j", async (tool_choice, constraint) => {
    await using server = await serve("Hm.")
    const to = requester(server)
    await to.ask({ tools: [F, G], tool_choice })
    expect(to.seen()?.constraint).toMatchObject(constraint)
  })

  test.each([
    ["f", 'expected "none"'],
    [{ name: "h" }, "none of the tools"],
    [{ type: "allowed_tools", mode: "auto", tools: [{ name: "h" }] }, '"h"'],
    [{}, 'expected "none"'],
  ])("%j is refused", async (tool_choice, message) => {
    await using server = await serve("Hm.")
    const error = await requester(server).refusal({ tools: [F, G], tool_choice })
    expect(error.param).toBe("tool_choice")
    expect(error.message).toContain(message)
  })

  test("tools that run at other services are left out, and a tool without a type is a function", async () => {
    await using server = await serve("Hm.")
    const to = requester(server)
    await to.ask({ tools: [{ type: "web_search", filters: {} }, { function: F.function }] })
    expect(to.seen()?.constraint).toMatchObject({ calls: [{ begin: expect.stringContaining('"f"') }] })
    await to.ask({ tools: [{ type: "code_interpreter" }] })
    expect(to.seen()?.constraint).toBeUndefined()
  })
})

describe("histories", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serve("Hm.")
  })
  afterAll(() => server[Symbol.asyncDispose]())
  const made = (id: string | undefined, name = "f", args: unknown = '{"x":1}') => ({
    id,
    type: "function",
    index: 0,
    function: { name, arguments: args, parsed_arguments: {} },
  })
  const user = { role: "user", content: "u" }

  test.each<[string, object[], string]>([
    [
      "unknown keys and nulls",
      [{ ...user, annotations: null, parsed: {}, odd: 1, refusal: null, audio: null }],
      "<user>u;",
    ],
    [
      "calls without content",
      [
        { role: "assistant", content: null, tool_calls: [made("a")] },
        { role: "tool", tool_call_id: "a", content: null, name: "f" },
      ],
      '<assistant>[a f {"x": 1}];<tool>@a;',
    ],
    [
      "no calls",
      [
        { role: "assistant", content: "t", tool_calls: [] },
        { ...user, tool_calls: null },
      ],
      "<assistant>t;<user>u;",
    ],
    ["an empty message", [{ role: "assistant" }, { role: "assistant", content: [] }], "<assistant>;<assistant>;"],
    ["a refusal", [{ role: "assistant", content: null, refusal: "no" }], "<assistant>no;"],
    [
      "parts",
      [
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: [{ type: "text", text: "hm" }], signature: "s" },
            { type: "text", text: "a", cache_control: {}, annotations: [] },
            { type: "refusal", refusal: "b" },
            { type: "output_text", text: "c" },
            { type: "redacted_thinking", data: "x" },
          ],
        },
        { role: "user", content: [{ type: "input_text", text: "d" }] },
      ],
      "<assistant>(hm)abc;<user>d;",
    ],
    [
      "reasoning",
      [
        { role: "assistant", reasoning: "r", content: "t", reasoning_details: [] },
        { ...user, reasoning_content: "x" },
      ],
      "<assistant>(r)t;<user>u;",
    ],
    [
      "the older form of calls",
      [
        { role: "assistant", function_call: { name: "f", arguments: "{}" } },
        { role: "function", name: "f", content: "1" },
      ],
      "<assistant>[call00000 f {}];<tool>1@call00000;",
    ],
    [
      "results without ids",
      [
        { role: "assistant", tool_calls: [made("a"), made(undefined, "g", { y: 2 }), made("c", "h", "")] },
        { role: "tool", name: "g", content: "1" },
        { role: "tool", content: "2" },
        { role: "tool", tool_call_id: "c", content: "3" },
        { role: "tool", content: "4" },
      ],
      '<assistant>[a f {"x": 1}][call00000 g {"y": 2}][c h {}];<tool>1@call00000;<tool>2@a;<tool>3@c;<tool>4;',
    ],
    [
      "developers",
      [
        { role: "developer", content: "d" },
        { role: "system", content: "s" },
      ],
      "<system>d;<system>s;",
    ],
  ])("%s", async (_, messages, prompt) => {
    const to = requester(server)
    await to.ask({ messages })
    expect(to.prompt()).toBe(prompt)
  })

  test("system messages are one at the beginning where the template refuses others", async () => {
    await using strict = await serveScript({ tokens: saying("Hm.") })
    const to = requester(strict)
    await to.ask({ messages: [user, { role: "system", content: "a" }, user, { role: "developer", content: "b" }] })
    expect(to.prompt()).toBe("a\n\nbu\n\nu")
  })

  test("images are refused by name", async () => {
    const error = await requester(server).refusal({
      messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "data:" } }] }],
    })
    expect(error.param).toBe("messages[0].content[0].type")
    expect(error.message).toContain('"image_url" is not supported yet')
  })
})
