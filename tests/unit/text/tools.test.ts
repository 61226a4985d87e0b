/** Parsing of the calls of every family, as a whole and in pieces. */

import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import type { ChatMessage } from "../../../src/text/chat-messages.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { withCalls } from "../../../src/text/tools/conversation.ts"
import { toolSupport } from "../../../src/text/tools/family.ts"
import type { ToolFormat } from "../../../src/text/tools/format.ts"
import { writeCalls } from "../../../src/text/tools/format.ts"
import { hermes } from "../../../src/text/tools/hermes.ts"
import { llama3 } from "../../../src/text/tools/llama3.ts"
import { mistralList, mistralNamed, mistralSpaced } from "../../../src/text/tools/mistral.ts"
import type { ToolPiece } from "../../../src/text/tools/reader.ts"
import { smollm } from "../../../src/text/tools/smollm.ts"
import { ToolCallSplitter } from "../../../src/text/tools/splitter.ts"

const FORMATS = [hermes, smollm, mistralList, mistralSpaced, mistralNamed, llama3]
const TOOLS = ["f", "get_time"]

interface Answer {
  content: string
  calls: { name: string; arguments: string }[]
}

function add(answer: Answer, pieces: readonly ToolPiece[]): void {
  for (const piece of pieces) {
    const call = answer.calls.at(-1)
    if (piece.type === "content") answer.content += piece.text
    else if (piece.type === "call") answer.calls.push({ name: piece.name, arguments: "" })
    else if (call === undefined) throw new Error("arguments of no call")
    else call.arguments += piece.text
  }
}

function split(format: ToolFormat, pieces: readonly string[]): Answer {
  const splitter = new ToolCallSplitter(format, TOOLS)
  const answer: Answer = { content: "", calls: [] }
  for (const piece of pieces) add(answer, splitter.push(piece))
  add(answer, splitter.flush())
  expect(splitter.calls).toBe(answer.calls.length)
  return answer
}

const call = (name: string, args = "{}") => ({ name, arguments: args })
const JAR = '{"name": "f", "arguments": {"a": [1, {"b": "}"}]}}'
const JAR_ARGS = '{"a": [1, {"b": "}"}]}'

const cases: Record<string, [ToolFormat, string, Answer][]> = {
  "Hermes and Qwen": [
    [hermes, `<tool_call>\n${JAR}\n</tool_call>`, { content: "", calls: [call("f", JAR_ARGS)] }],
    [
      hermes,
      `Sure.\n<tool_call>${JAR}</tool_call>\n<tool_call>{"name":"get_time","arguments":{}}</tool_call>\n`,
      { content: "Sure.", calls: [call("f", JAR_ARGS), call("get_time")] },
    ],
    // A call ends at the next call or at the end of the answer.
    [
      hermes,
      `<tool_call>${JAR}\n<tool_call>${JAR}`,
      { content: "", calls: [call("f", JAR_ARGS), call("f", JAR_ARGS)] },
    ],
    [hermes, `a\n<tool_call>${JAR}</tool_call>\n\nb`, { content: "a\n\nb", calls: [call("f", JAR_ARGS)] }],
    [hermes, '<tool_call>{"name": "f"}</tool_call>', { content: "", calls: [call("f")] }],
    [hermes, '<tool_call>{"arguments": { }, "name": "f"}</tool_call>', { content: "", calls: [call("f", "{ }")] }],
    [
      hermes,
      '<tool_call>{"type": "function", "id": [null, -1.5e3, true, "\\u00e9\\n"], "name": "f", "parameters": {}}</tool_call>',
      { content: "", calls: [call("f")] },
    ],
  ],
  SmolLM: [
    [smollm, `<tool_call>[${JAR}]</tool_call>`, { content: "", calls: [call("f", JAR_ARGS)] }],
    [
      smollm,
      `<tool_call>[\n${JAR},\n${JAR},\n]</tool_call>`,
      { content: "", calls: [call("f", JAR_ARGS), call("f", JAR_ARGS)] },
    ],
    [smollm, "<tool_call>[]</tool_call>", { content: "", calls: [] }],
    [smollm, `<tool_call>${JAR}</tool_call>`, { content: "", calls: [call("f", JAR_ARGS)] }],
  ],
  Mistral: [
    [
      mistralList,
      '[TOOL_CALLS] [{"name": "f", "arguments": {"x": 1}, "id": "abcdefghi"}, {"name": "get_time", "arguments": {}}]',
      { content: "", calls: [call("f", '{"x": 1}'), call("get_time")] },
    ],
    [mistralList, `Hm. [TOOL_CALLS]${JAR}`, { content: "Hm.", calls: [call("f", JAR_ARGS)] }],
    [mistralNamed, '[TOOL_CALLS]f[ARGS]{"x": 1}', { content: "", calls: [call("f", '{"x": 1}')] }],
    [
      mistralNamed,
      'Hm.[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"x": 1}[TOOL_CALLS]get_time[ARGS]{}',
      { content: "Hm.", calls: [call("f", '{"x": 1}'), call("get_time")] },
    ],
  ],
  "Llama 3": [
    [llama3, '{"name": "f", "parameters": {"x": "y"}}', { content: "", calls: [call("f", '{"x": "y"}')] }],
    [llama3, '<|python_tag|>{"name": "f", "parameters": {}}', { content: "", calls: [call("f")] }],
    [
      llama3,
      '{"name": "f", "parameters": {}}; {"name": "get_time", "parameters": {}}\n{"type": "function", "name": "f", "parameters": {"a": 0}}',
      { content: "", calls: [call("f"), call("get_time"), call("f", '{"a": 0}')] },
    ],
    [llama3, 'I call {"name": "f", "parameters": {}}', { content: "I call", calls: [call("f")] }],
  ],
}

for (const [family, list] of Object.entries(cases))
  describe(family, () => {
    test.each(list.map(([format, text, expected]) => [text, format, expected] as const))(
      "%j",
      (text, format, expected) => {
        expect(split(format, [text])).toEqual(expected)
        expect(split(format, [...text])).toEqual(expected)
      },
    )
  })

describe("text that is not a call is content, all of it", () => {
  test.each<[string, ToolFormat]>([
    ["Plain text, with white space behind it. \n", hermes],
    ["a < b, <tool, <tool_call", hermes],
    ["<tool_call>f(1)</tool_call>", hermes],
    ['<tool_call>{"name": "unknown", "arguments": {}}</tool_call>', hermes],
    ['<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', hermes],
    ['<tool_call>{"name": "f", "arguments"', hermes],
    ['<tool_call>{"name": 3, "arguments": {}}</tool_call>', hermes],
    ['<tool_call>{"arguments": {}}</tool_call>', hermes],
    ['<tool_call>{"name": "f", "colour": "red", "arguments": {}}</tool_call>', hermes],
    [`<tool_call>{"arguments": ${'{"a":'.repeat(500)}`, hermes],
    ['<tool_call>[{"name"', smollm],
    ["[TOOL_CALLS][1]", mistralList],
    ["[TOOL_CALLS", mistralList],
    ["[TOOL_CALLS]f(x)", mistralNamed],
    ["[TOOL_CALLS]g[ARGS]{}", mistralNamed],
    ["[TOOL_CALLS]f[ARGS]1", mistralNamed],
    ['{"city": "Paris", "name": "f"}', llama3],
    ['{"name": "Ada", "parameters": {}}', llama3],
    ['<|python_tag|>print("x")', llama3],
    ["function f() { return {} }", llama3],
  ])("%j", (text, format) => {
    expect(split(format, [text])).toEqual({ content: text, calls: [] })
    expect(split(format, [...text])).toEqual({ content: text, calls: [] })
  })

  test("a call may follow within the content", () => {
    const expected = { content: '<tool_call>{"na <', calls: [call("f", JAR_ARGS)] }
    expect(split(hermes, [`<tool_call>{"na <<tool_call>${JAR}</tool_call>`])).toEqual(expected)
  })
})

test("malformed arguments end at the error, and the rest is content", () => {
  const wrong = (args: string) => split(hermes, [`<tool_call>{"name": "f", "arguments": ${args}`])
  expect(wrong('{"a": 1, b}}</tool_call>')).toEqual({ content: "b}}</tool_call>", calls: [call("f", '{"a": 1, ')] })
  expect(wrong('{"a": "x\ny"}}')).toEqual({ content: '\ny"}}', calls: [call("f", '{"a": "x')] })
  expect(wrong('{"a": 01}}')).toEqual({ content: "1}}", calls: [call("f", '{"a": 0')] })
  expect(wrong('{"a": "x')).toEqual({ content: "", calls: [call("f", '{"a": "x')] })
})

test("arguments are emitted as they arrive", () => {
  const splitter = new ToolCallSplitter(hermes, TOOLS)
  expect(splitter.push('Hi.\n<tool_call>\n{"name": "f", "argum')).toEqual([{ type: "content", text: "Hi." }])
  expect(splitter.push('ents": {"a')).toEqual([
    { type: "call", name: "f" },
    { type: "arguments", text: '{"a' },
  ])
  expect(splitter.push('": "x')).toEqual([{ type: "arguments", text: '": "x' }])
  expect(splitter.push('"}}\n</tool')).toEqual([{ type: "arguments", text: '"}' }])
  expect(splitter.push("_call>")).toEqual([])
  expect(splitter.flush()).toEqual([])
})

test("every call has a new id; Mistral's ids have 9 letters or digits", () => {
  for (const format of FORMATS) {
    const ids = Array.from({ length: 50 }, () => format.newId())
    expect(new Set(ids).size).toBe(50)
    for (const id of ids) expect(id).toMatch(format.name.startsWith("mistral") ? /^\w{9}$/ : /^call_\w{24}$/)
  }
})

const object = fc
  .dictionary(fc.string({ unit: "binary", maxLength: 6 }), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 4 })
  .chain((value) => fc.constantFrom(JSON.stringify(value), JSON.stringify(value, null, 2)))
const calls = fc.array(fc.record({ name: fc.constantFrom(...TOOLS), arguments: object }), {
  minLength: 1,
  maxLength: 3,
})
const prose = fc.constantFrom("", "Let me see.", "a < b [x]", "1. [T]\n\n2. <tool", "é 東 😀")
const format = fc.constantFrom(...FORMATS)
const cuts = fc.oneof(fc.constant("letters" as const), fc.array(fc.nat(10_000), { maxLength: 12 }))

function pieces(text: string, where: "letters" | number[]): string[] {
  if (where === "letters") return [...text]
  const ends = [...new Set([...where.map((cut) => cut % (text.length + 1)), text.length])].sort((a, b) => a - b)
  return ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end))
}

test("formatted calls are parsed as the same calls, however the text is cut", () => {
  fc.assert(
    fc.property(format, prose, calls, cuts, (format, content, calls, where) => {
      const text = content + (content === "" ? "" : "\n") + writeCalls(format.spelling, calls)
      expect(split(format, pieces(text, where))).toEqual({ content, calls })
    }),
    { numRuns: 2000, seed: 1 },
  )
})

const scrap = fc.oneof(
  fc.constantFrom(
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<|python_tag|>",
    '{"name": "f", "arguments": ',
    '{"name": "f", "parameters": ',
    '"name"',
    '{"a": "b"',
    "f",
    "1e",
    "\\u00",
    ...'{}[]:,;" \n<',
  ),
  fc.string({ maxLength: 2 }),
)

test("any text gives the same result in pieces and as a whole, and no content is lost", () => {
  fc.assert(
    fc.property(format, fc.array(scrap, { maxLength: 16 }), cuts, (format, scraps, where) => {
      const text = scraps.join("")
      const whole = split(format, [text])
      expect(split(format, pieces(text, where))).toEqual(whole)
      if (whole.calls.length === 0 && !/\[\s*\]/.test(text)) expect(whole.content).toBe(text)
      const letters = (some: string) => [...some.matchAll(/[a-z0-9\\]/g)].length
      const frame = text.match(/name|arguments|parameters|tool_call|python_tag/g)?.join("").length ?? 0
      const out = whole.content + whole.calls.map((call) => call.name + call.arguments).join("")
      expect(letters(out) + frame).toBeGreaterThanOrEqual(letters(text))
    }),
    { numRuns: 5000, seed: 2 },
  )
})

describe("earlier calls", () => {
  const called = (...ids: string[]): ChatMessage => ({
    role: "assistant",
    content: "Hm.",
    tool_calls: ids.map((id) => ({ id, type: "function", function: call("f") })),
  })
  const result = (id: string): ChatMessage => ({ role: "tool", tool_call_id: id, content: id })
  const support = (template: string) => toolSupport(new ChatTemplate(`{# tools tool_calls ${template} #}`))
  const ids = (messages: ChatMessage[]) =>
    messages.map(({ tool_calls, tool_call_id }) => tool_call_id ?? tool_calls?.map(({ id }) => id))

  test("Mistral's ids are 9 letters or digits, the same for a call and its result", () => {
    const messages = withCalls(support("[TOOL_CALLS]"), [
      called("abcdefGH9", "call_1"),
      result("abcdefGH9"),
      result("call_1"),
    ])
    const [calls, first, second] = ids(messages)
    expect(calls).toEqual(["abcdefGH9", expect.stringMatching(/^[a-z0-9]{9}$/)])
    expect([first, second]).toEqual(calls as never)
  })

  test("Llama's messages have one call each", () => {
    const messages = withCalls(support('<|start_header_id|> "parameters"'), [
      called("a", "b"),
      result("a"),
      result("b"),
    ])
    expect(ids(messages)).toEqual([["a"], ["b"], "a", "b"] as never)
    expect(messages.map(({ content }) => content)).toEqual(["Hm.", "", "a", "b"])
  })

  test("messages for other templates are not changed", () => {
    const messages = [called("a", "b"), result("a")]
    expect(withCalls(support("<tool_call>"), messages)).toEqual(messages)
  })
})

test.each([
  ["{{ tools }}<tool_call>{{ m.tool_calls }}", "hermes", true, true],
  // The template of SmolLM3 does not print earlier calls.
  ["named SmolLM {{ xml_tools }} <tool_call>", "hermes", true, false],
  ["named SmolLM", "smollm", false, false],
  ["{{ tools }}[TOOL_CALLS]{{ m.tool_calls }}", "mistral", true, true],
  ["{{ tools }}[TOOL_CALLS] [{{ m.tool_calls }}", "mistral-spaced", true, true],
  ["{{ tools }}[TOOL_CALLS][ARGS]{{ m.tool_calls }}", "mistral-args", true, true],
  ['{{ tools }}<|start_header_id|>{"parameters"}{{ m.tool_calls }}', "llama3", true, true],
  ['{{ tools }}<|header_start|>{"parameters"}{{ m.tool_calls }}', "llama3", true, true],
  ["<|start_header_id|>", "hermes", false, false],
  // The native forms of Qwen3-Coder and DeepSeek are not parsed; their prompts request the Hermes form.
  ["{{ tools }}<tool_call><function={{ m.tool_calls }}", "hermes", false, false],
  ["{{ tools }}<｜tool▁call▁begin｜>{{ m.tool_calls }}", "hermes", false, false],
])("the family of the template %j is %s", (source, name, describes, replays) => {
  const support = toolSupport(new ChatTemplate(source))
  expect({ ...support, format: support.format.name }).toEqual({ format: name, describes, replays })
})
