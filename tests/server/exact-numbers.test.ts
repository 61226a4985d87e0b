/** Numbers of any length and spelling, and the order of keys, on their way through every API: histories, schemas, answers, the store. */

import { describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import fc from "fast-check"
import type { StartOptions } from "../../src/server/index.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { post } from "../support/http.ts"
import { QWEN_TOOLS } from "../unit/text/templates.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

const ARGUMENTS = '{"z":1.0,"id":1234567890123456789,"2":"b","1":{"20":-0.10,"3":[1e2,0.12345678901234567890]}}'
/** As templates write it. */
const SPACED = '{"z": 1.0, "id": 1234567890123456789, "2": "b", "1": {"20": -0.10, "3": [1e2, 0.12345678901234567890]}}'
const SCHEMA =
  '{"type":"object","properties":{"id":{"type":"integer","maximum":9223372036854775807},"2":{"minimum":1.0},"1":{"const":0.10}}}'
const SPACED_SCHEMA =
  '{"type": "object", "properties": {"id": {"type": "integer", "maximum": 9223372036854775807}, "2": {"minimum": 1.0}, "1": {"const": 0.10}}}'

const MISTRAL = `{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for m in messages %}{% if m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}]
{%- else %}{{ m.content }}{% endif %}{% endfor %}`
const MISTRAL_ARGS = `{% if tools %}{% for t in tools %}{{ t.function | tojson }}{% endfor %}{% endif %}
{%- for m in messages %}{% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}{% endfor %}{{ m.content }}{% endfor %}`
const LLAMA3 = `{% for t in tools %}{{ t | tojson(indent=none) }}{% endfor %}
{%- for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>{% for c in m.tool_calls %}
{{- '{"name": "' + c.function.name + '", "parameters": ' }}{{ c.function.arguments | tojson }}}{% endfor %}{{ m.content }}{% endfor %}`
const SMOLLM3 = `{% for tool in xml_tools %}{{ tool | string }}{% endfor %}
{%- for m in messages %}{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{{ m.content }}{% endfor %}`
const PLAIN = "{% for m in messages %}{{ m.content }}\n{% endfor %}"

/** Whether the template writes calls itself, with Python's spaces, and the tools. */
const TEMPLATES: Record<string, { template: string; calls: boolean; tools: boolean }> = {
  qwen: { template: QWEN_TOOLS, calls: true, tools: true },
  mistral: { template: MISTRAL, calls: true, tools: true },
  "mistral since 2025": { template: MISTRAL_ARGS, calls: true, tools: true },
  llama3: { template: LLAMA3, calls: true, tools: true },
  smollm3: { template: SMOLLM3, calls: true, tools: false },
  "none, for hermes": { template: PLAIN, calls: false, tools: false },
  "none, for smollm": { template: `${PLAIN}{# SmolLM #}`, calls: false, tools: false },
}

/** Bodies of each API whose history has a call with these arguments, and that offer a tool with this schema. */
const HISTORIES: Record<string, (args: string, schema: string) => string> = {
  "/v1/chat/completions": (
    args,
    schema,
  ) => `{"model":"script","max_tokens":400,"messages":[{"role":"user","content":"x"},
    {"role":"assistant","content":null,"tool_calls":[{"id":"abcdefghi","type":"function","function":{"name":"f","arguments":${JSON.stringify(args)}}}]},
    {"role":"tool","tool_call_id":"abcdefghi","content":"ok"}],"temperature":1.0,
    "tools":[{"type":"function","function":{"name":"f","parameters":${schema}}}]}`,
  "/v1/messages": (args, schema) => `{"model":"script","max_tokens":400,"messages":[{"role":"user","content":"x"},
    {"role":"assistant","content":[{"type":"tool_use","id":"abcdefghi","name":"f","input":${args}}]},
    {"role":"user","content":[{"type":"tool_result","tool_use_id":"abcdefghi","content":"ok"}]}],"temperature":1.0,
    "tools":[{"name":"f","input_schema":${schema}}]}`,
  "/v1/responses": (args, schema) => `{"model":"script","max_output_tokens":400,"input":[{"role":"user","content":"x"},
    {"type":"function_call","call_id":"abcdefghi","name":"f","arguments":${JSON.stringify(args)}},
    {"type":"function_call_output","call_id":"abcdefghi","output":"ok"}],"temperature":1.0,
    "tools":[{"type":"function","name":"f","parameters":${schema},"strict":false}]}`,
  "/api/chat": (args, schema) => `{"model":"script","stream":false,"messages":[{"role":"user","content":"x"},
    {"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":${args}}}]},
    {"role":"tool","tool_name":"f","content":"ok"}],"options":{"num_predict":400,"temperature":1.0},
    "tools":[{"type":"function","function":{"name":"f","parameters":${schema}}}]}`,
}

async function serve(template: string, answer = "Hi.", options: Partial<StartOptions> = {}) {
  const chatTemplate = new ChatTemplate(template)
  const server = await serveScript({ tokens: saying(answer) }, options, { contextLength: 1 << 16 }, { chatTemplate })
  return Object.assign(server, {
    prompt: () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
    /** The text of an answer with status 200. */
    ask: async (path: string, body: string): Promise<string> => {
      const response = await post(`${server.url}${path}`, body)
      const text = await response.text()
      expect([response.status, response.status === 200 ? "" : text]).toEqual([200, ""])
      return text
    },
  })
}

describe("the prompt shows calls and schemas as they were written", () => {
  for (const [name, { template, calls, tools }] of Object.entries(TEMPLATES))
    for (const [path, body] of Object.entries(HISTORIES))
      test(`${path}, template: ${name}`, async () => {
        await using server = await serve(template)
        await server.ask(path, body(ARGUMENTS, SCHEMA))
        const prompt = server.prompt()
        expect(prompt).toContain(calls ? SPACED : ARGUMENTS)
        expect(prompt).toContain(tools ? SPACED_SCHEMA : SCHEMA)
      })

  test("the fault that was found", async () => {
    await using server = await serve(QWEN_TOOLS)
    const call = { name: "f", arguments: '{"z":1.0,"id":1234567890123456789,"2":"b","1":"a"}' }
    const messages = [
      { role: "user", content: "x" },
      { role: "assistant", content: null, tool_calls: [{ id: "abcdefghi", type: "function", function: call }] },
      { role: "tool", tool_call_id: "abcdefghi", content: "ok" },
    ]
    const prompt = await server.ask("/apply-template", JSON.stringify({ model: "script", messages }))
    expect(JSON.parse(prompt).prompt).toContain('{"z": 1.0, "id": 1234567890123456789, "2": "b", "1": "a"}')
  })

  test("whatever the numbers and keys are", async () => {
    await using server = await serve(QWEN_TOOLS)
    const digits = (min: number) =>
      fc.string({ unit: fc.constantFrom("0", "1", "5", "9"), minLength: min, maxLength: 40 })
    const number = fc
      .tuple(fc.constantFrom("", "-"), digits(0), digits(0), fc.constantFrom("", "e9", "E-40"))
      .map(([sign, whole, fraction, power]) => `${sign}7${whole}${fraction === "" ? "" : `.${fraction}`}${power}`)
    const key = fc.constantFrom("b", "a", "10", "9", "0", "é", "__proto__", "toString", "4294967294")
    const object = (value: fc.Arbitrary<string>) =>
      fc
        .uniqueArray(fc.tuple(key, value), { maxLength: 4, selector: ([key]) => key })
        .map((entries) => `{${entries.map(([key, value]) => `"${key}": ${value}`).join(", ")}}`)
    const { value } = fc.letrec<{ value: string }>((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        number,
        fc.array(tie("value"), { maxLength: 3 }).map((items) => `[${items.join(", ")}]`),
        object(tie("value")),
      ),
    }))
    const cases = fc.record({ path: fc.constantFrom(...Object.keys(HISTORIES)), args: object(value) })
    await fc.assert(
      fc.asyncProperty(cases, async ({ path, args }) => {
        await server.ask(path, HISTORIES[path]?.(args, `{"type":"object","x-any":${args}}`) ?? "")
        expect(server.prompt()).toContain(`"arguments": ${args}}`)
        expect(server.prompt()).toContain(`"x-any": ${args}}`)
      }),
      { numRuns: 100 },
    )
  })

  test("and variables of the template", async () => {
    await using server = await serve(
      "{{ big }} {{ one }} {{ o | tojson }} {{ big == 12345678901234567891 }} {{ one < 2 }}",
    )
    const body = `{"messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"big":12345678901234567890,"one":1.0,"o":{"2":1,"1":2.50}}}`
    const { prompt } = JSON.parse(await server.ask("/apply-template", body))
    expect(prompt).toBe('12345678901234567890 1.0 {"2": 1, "1": 2.50} false true')
  })
})

describe("answers have the arguments as the model wrote them", () => {
  const answer = `<tool_call>{"name": "f", "arguments": ${ARGUMENTS}}</tool_call>`
  const quoted = JSON.stringify(ARGUMENTS)
  const WHOLE: Record<string, string> = {
    "/v1/chat/completions": `"arguments":${quoted}`,
    "/v1/messages": `"input":${ARGUMENTS}`,
    "/v1/responses": `"arguments":${quoted}`,
    "/api/chat": `"arguments":${ARGUMENTS}`,
  }
  for (const [path, expected] of Object.entries(WHOLE))
    test(`whole, ${path}`, async () => {
      await using server = await serve(QWEN_TOOLS, answer)
      expect(await server.ask(path, HISTORIES[path]?.("{}", SCHEMA) ?? "")).toContain(expected)
    })

  test("as Ollama's lines, and in the pieces of the others", async () => {
    await using server = await serve(QWEN_TOOLS, answer)
    const streamed = async (path: string) => {
      const body = HISTORIES[path]?.("{}", SCHEMA).replace('"stream":false,', "").replace("{", '{"stream":true,') ?? ""
      return await server.ask(path, body)
    }
    expect(await streamed("/api/chat")).toContain(`"arguments":${ARGUMENTS}`)
    const pieces = (text: string, piece: (data: never) => string | undefined) =>
      [...text.matchAll(/^data: (\{.*)$/gm)].map(([, data = ""]) => piece(JSON.parse(data) as never) ?? "").join("")
    expect(
      pieces(await streamed("/v1/messages"), ({ delta }: { delta?: { partial_json?: string } }) => delta?.partial_json),
    ).toBe(ARGUMENTS)
    expect(
      pieces(
        await streamed("/v1/chat/completions"),
        ({ choices }: { choices: { delta: { tool_calls?: { function: { arguments?: string } }[] } }[] }) =>
          choices[0]?.delta.tool_calls?.[0]?.function.arguments,
      ),
    ).toBe(ARGUMENTS)
    const events = await streamed("/v1/responses")
    expect(events).toContain(`"name":"f","arguments":${quoted}`)
    expect(events).toContain(`"parameters":${SCHEMA}`)
  })
})

describe("stored responses", () => {
  test("keep calls and schemas, also in a file that another server opens", async () => {
    const folder = await mkdtemp(join(tmpdir(), "exact-"))
    const options = { responsesPath: join(folder, "responses.sqlite") }
    try {
      const format = `{"format":{"type":"json_schema","name":"n","schema":${SCHEMA}}}`
      const call = `<tool_call>{"name": "f", "arguments": ${ARGUMENTS}}</tool_call>`
      let id: string
      {
        await using server = await serve(QWEN_TOOLS, call, options)
        const body = HISTORIES["/v1/responses"]?.(ARGUMENTS, SCHEMA).replace("{", `{"text":${format},`) ?? ""
        const text = await server.ask("/v1/responses", body)
        expect(text).toContain(`"parameters":${SCHEMA}`)
        expect(text).toContain(`"schema":${SCHEMA}`)
        id = JSON.parse(text).id
      }
      await using server = await serve(QWEN_TOOLS, "Hi.", options)
      const stored = await (await fetch(`${server.url}/v1/responses/${id}`)).text()
      expect(stored).toContain(`"parameters":${SCHEMA}`)
      expect(stored).toContain(`"schema":${SCHEMA}`)
      expect(stored).toContain(`"arguments":${JSON.stringify(ARGUMENTS)}`)
      const { call_id } = JSON.parse(stored).output[0]
      const input = [{ type: "function_call_output", call_id, output: "ok" }]
      await server.ask("/v1/responses", JSON.stringify({ model: "script", previous_response_id: id, input }))
      expect(server.prompt().split(SPACED)).toHaveLength(3)
    } finally {
      await rm(folder, { recursive: true })
    }
  })

  test("in the background repeat schemas as they were written", async () => {
    await using server = await serve(QWEN_TOOLS)
    const body = HISTORIES["/v1/responses"]?.(ARGUMENTS, SCHEMA).replace("{", '{"background":true,') ?? ""
    expect(await server.ask("/v1/responses", body)).toContain(`"parameters":${SCHEMA}`)
  })
})
