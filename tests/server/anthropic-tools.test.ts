/** Tool use with Anthropic's client. */

import { describe, expect, test } from "bun:test"
import Anthropic from "@anthropic-ai/sdk"
import { resolveModel } from "../../src/store/resolve.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { serveFile } from "../support/http.ts"
import { anthropicOf } from "./support/clients.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

const TEMPLATE = new ChatTemplate(
  "{% if tools %}{{ tools | tojson }}\n{% endif %}{# <tool_call> </think> #}{% for m in messages %}<{{ m.role }}>" +
    "{{ m.content }}{% for c in m.tool_calls %}{{ c | tojson }}{% endfor %}{% if m.tool_call_id %}({{ m.tool_call_id }}){% endif %};{% endfor %}",
)
const CALLS =
  'Hm.\n<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>'

const tools: Anthropic.Tool[] = [
  { name: "f", description: "Does f.", input_schema: { type: "object", properties: { x: { type: "string" } } } },
  { name: "g", input_schema: { type: "object" }, cache_control: { type: "ephemeral" } },
]
const messages: Anthropic.MessageParam[] = [{ role: "user", content: "Do it." }]
const request = { model: "script", max_tokens: 500, messages, tools }

async function serve(answer: string) {
  const limits = { contextLength: 8192 }
  const server = await serveScript({ tokens: saying(answer) }, {}, limits, { chatTemplate: TEMPLATE })
  return Object.assign(server, {
    anthropic: anthropicOf(server.url),
    prompt: () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
  })
}

const use = (name: string, input: object) => ({
  type: "tool_use",
  id: expect.stringMatching(/^call_\w{24}$/),
  name,
  input,
  caller: { type: "direct" },
})

describe("tool_use blocks", () => {
  test("are content of a message with stop_reason tool_use", async () => {
    await using server = await serve(CALLS)
    const message = await server.anthropic.messages.create(request)
    expect(message.content as unknown[]).toEqual([
      { type: "text", text: "Hm.", citations: [] },
      use("f", { x: "é" }),
      use("g", {}),
    ])
    expect(message.stop_reason).toBe("tool_use")
    expect(server.prompt()).toStartWith(
      '[{"type": "function", "function": {"name": "f", "description": "Does f.", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}}, ' +
        '{"type": "function", "function": {"name": "g", "parameters": {"type": "object"}}}]\n<user>Do it.;',
    )
  })

  test("are streamed, with their input in pieces", async () => {
    await using server = await serve(`<think>Well.</think>${CALLS}`)
    const stream = server.anthropic.messages.stream(request)
    const events: Anthropic.RawMessageStreamEvent[] = []
    for await (const event of stream) events.push(event)
    const message = await stream.finalMessage()
    expect(message.content as unknown[]).toEqual([
      { type: "thinking", thinking: "Well.", signature: "" },
      { type: "text", text: "Hm.", citations: [] },
      use("f", { x: "é" }),
      use("g", {}),
    ])
    expect(message.stop_reason).toBe("tool_use")
    const pieces = events.flatMap((event) =>
      event.type === "content_block_delta" && event.delta.type === "input_json_delta" && event.index === 2
        ? [event.delta.partial_json]
        : [],
    )
    expect(pieces).toEqual([...'{"x": "é"}'])
    const blocks = events.flatMap((event) =>
      event.type === "content_block_start" || event.type === "content_block_stop" ? [[event.type, event.index]] : [],
    )
    expect(blocks).toEqual(
      [0, 1, 2, 3].flatMap((i) => [
        ["content_block_start", i],
        ["content_block_stop", i],
      ]),
    )
  })

  test("of a message cut off by max_tokens may have incomplete input", async () => {
    await using server = await serve(CALLS)
    const message = await server.anthropic.messages.create({ ...request, max_tokens: 52 })
    expect(message.stop_reason).toBe("max_tokens")
    expect(message.content as unknown[]).toEqual([{ type: "text", text: "Hm.", citations: [] }, use("f", {})])
  })
})

test("calls and their results are part of the next prompt", async () => {
  await using server = await serve("Done.")
  const { anthropic } = server
  const conversation: Anthropic.MessageParam[] = [
    ...messages,
    {
      role: "assistant",
      content: [
        { type: "text", text: "Hm." },
        { type: "tool_use", id: "a", name: "f", input: { x: "é" } },
        { type: "tool_use", id: "b", name: "g", input: {} },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: "a", content: "42" },
        { type: "tool_result", tool_use_id: "b", content: [{ type: "text", text: "no g" }], is_error: true },
        { type: "text", text: "And " },
        { type: "text", text: "now?" },
      ],
    },
  ]
  const message = await anthropic.messages.create({ ...request, messages: conversation })
  expect(message).toMatchObject({ content: [{ type: "text", text: "Done." }], stop_reason: "end_turn" })
  const [, ...shown] = server.prompt().split("\n")
  expect(shown.join("\n")).toBe(
    '<user>Do it.;<assistant>Hm.{"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": "é"}}}' +
      '{"id": "b", "type": "function", "function": {"name": "g", "arguments": {}}};' +
      "<tool>42(a);<tool>Error: no g(b);<user>And now?;",
  )
  const { input_tokens } = await anthropic.messages.countTokens({ model: "script", messages: conversation, tools })
  expect(input_tokens).toBe(message.usage.input_tokens)
})

test("SmolLM2 calls a required tool, with valid input", async () => {
  await using server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 1024 })
  const client = anthropicOf(server.url)
  const properties = { word: { enum: ["yes", "no"] }, n: { type: "integer", minimum: 3, maximum: 5 } }
  const input_schema = { type: "object" as const, properties, required: ["word", "n"], additionalProperties: false }
  const forced = {
    model: server.model.name,
    max_tokens: 200,
    messages,
    temperature: 1.5,
    tools: [
      { name: "stop", input_schema: { ...input_schema, properties: {}, required: [] } },
      { name: "answer", input_schema },
    ],
  }
  for (const tool_choice of [
    { type: "tool", name: "answer" },
    { type: "any", disable_parallel_tool_use: true },
  ] as const)
    for (const message of [
      await client.messages.create({ ...forced, tool_choice }),
      await client.messages.stream({ ...forced, tool_choice }).finalMessage(),
    ]) {
      expect(message.stop_reason).toBe("tool_use")
      const [block, ...others] = message.content
      expect(others).toEqual([])
      if (block?.type !== "tool_use") throw new Error("no tool was used")
      if (tool_choice.type === "tool") expect(block.name).toBe("answer")
      if (block.name !== "answer") continue
      const { word, n } = block.input as { word: string; n: number }
      expect(["yes", "no"]).toContain(word)
      expect([3, 4, 5]).toContain(n)
    }
})

test("with tool_choice none, the prompt has no tools", async () => {
  await using server = await serve(CALLS)
  const message = await server.anthropic.messages.create({ ...request, tool_choice: { type: "none" } })
  expect(message).toMatchObject({ content: [{ type: "text", text: CALLS }], stop_reason: "end_turn" })
  expect(server.prompt()).toBe("<user>Do it.;")
})

describe("invalid fields are refused by name", () => {
  const last = { role: "assistant", content: [{ type: "tool_use", id: "a", name: "f", input: {} }] }
  test.each<[object, string]>([
    [
      { tools: [{ type: "web_search_20250305", name: "s" }], tool_choice: { type: "tool", name: "s" } },
      "tool_choice.name",
    ],
    [{ tools: [{ type: "web_search_20250305", name: "s" }], tool_choice: { type: "any" } }, "tool_choice"],
    [{ tools: [{ type: "bash_20250124", name: "f" }, tools[0]] }, "tools[1].name"],
    [{ tools: [{ name: "a b", input_schema: {} }] }, "tools[0].name"],
    [{ tools: [{ name: "f" }] }, "tools[0].input_schema"],
    [{ tools: [tools[0], tools[0]] }, "tools[1].name"],
    [{ tools: [], tool_choice: { type: "any" } }, "tool_choice"],
    [{ tool_choice: { type: "tool", name: "h" } }, "tool_choice.name"],
    [{ messages: [...messages, last] }, "messages"],
    [
      { messages: [{ role: "user", content: [{ type: "tool_use", id: "a", name: "f", input: {} }] }] },
      "messages[0].content[0].type",
    ],
  ])("%j names %s", async (fields, name) => {
    await using server = await serve("x")
    const error = await server.anthropic.messages.create({ ...request, ...fields } as never).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(Anthropic.BadRequestError)
    expect(error.message).toContain(`'${name}'`)
    expect(server.engine.requests).toEqual([])
  })
})
