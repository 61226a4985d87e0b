/** What agents send to `/v1/messages`: long histories, tools of Anthropic's own, hints, and edits of the context. */

import { describe, expect, test } from "bun:test"
import type Anthropic from "@anthropic-ai/sdk"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { post as postTo } from "../support/http.ts"
import { anthropicOf } from "./support/clients.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

/** Names the tools, and writes every message with its reasoning, calls and call id. `enable_thinking` is a switch. */
const TEMPLATE = new ChatTemplate(
  "{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{% for t in tools or [] %}{{ t.function.name }} {% endfor %}{# <tool_call> </think> #}" +
    "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}" +
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% if m.tool_call_id %}={{ m.tool_call_id }}{% endif %};{% endfor %}",
)
const request = { model: "script", max_tokens: 500, messages: [{ role: "user" as const, content: "hi" }] }

async function serve(answer: string, options: Parameters<typeof serveScript>[1] = {}) {
  const server = await serveScript(
    { tokens: saying(answer) },
    options,
    { contextLength: 8192 },
    { chatTemplate: TEMPLATE },
  )
  const post = (body: object, query = "") =>
    postTo(`${server.url}/v1/messages${query}`, { ...request, ...body }, { headers: { "x-api-key": "none" } })
  return Object.assign(server, {
    anthropic: anthropicOf(server.url),
    post,
    prompt: () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
    /** The prompt of a request that has to succeed. */
    promptOf: async (body: object, query = "") => {
      const response = await post(body, query)
      expect(await response.json()).toMatchObject({ type: "message" })
      return byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true })
    },
  })
}

const use = (id: string, name = "f", input = {}) => ({ type: "tool_use" as const, id, name, input })
const result = (id: string, content: unknown) => ({ type: "tool_result", tool_use_id: id, content })

test("what Claude Code sends is accepted, and a call of its tool goes back and forth", async () => {
  await using server = await serve('<tool_call>\n{"name": "Bash", "arguments": {"command": "ls"}}\n</tool_call>')
  const cache_control = { type: "ephemeral" as const }
  const body: Anthropic.Beta.MessageCreateParamsNonStreaming = {
    model: "script",
    max_tokens: 16_000,
    betas: ["context-management-2025-06-27", "effort-2025-11-24"],
    system: [
      { type: "text", text: "You are an agent.", cache_control },
      { type: "text", text: "\nUse tools.", cache_control },
    ],
    messages: [
      { role: "user", content: [{ type: "text", text: "list", cache_control }] },
      { role: "system", content: "Agent types: one" },
    ],
    tools: [
      {
        name: "Bash",
        description: "Runs.",
        input_schema: { type: "object", properties: { command: { type: "string" } } },
      },
    ],
    metadata: { user_id: '{"device_id":"x"}' },
    thinking: { type: "adaptive" },
    context_management: { edits: [{ type: "clear_thinking_20251015", keep: "all" }] },
    output_config: { effort: "high" },
  }
  const message = await server.anthropic.beta.messages.create(body)
  expect(message).toMatchObject({
    stop_reason: "tool_use",
    content: [{ type: "tool_use", name: "Bash", input: { command: "ls" } }],
    context_management: { applied_edits: [] },
  })
  expect(server.prompt()).toBe("[true]Bash <system>You are an agent.\nUse tools.;<user>list;<system>Agent types: one;")
  const [call] = message.content
  const streamed = await server.anthropic.beta.messages
    .stream({
      ...body,
      messages: [
        ...body.messages,
        { role: "assistant", content: message.content as Anthropic.Beta.BetaContentBlockParam[] },
        {
          role: "user",
          content: [
            { type: "tool_result", tool_use_id: (call as { id: string }).id, content: "a.txt", is_error: false },
          ],
        },
      ],
    })
    .finalMessage()
  expect(streamed.stop_reason).toBe("tool_use")
  expect(server.prompt()).toEndWith(`<assistant>Bash{"command": "ls"};<tool>a.txt=${(call as { id: string }).id};`)
})

describe("tools", () => {
  test("that the client runs are offered with their schemas, and those of Anthropic's service are left out", async () => {
    await using server = await serve('<tool_call>\n{"name": "bash", "arguments": {"command": "ls"}}\n</tool_call>')
    const message = await server.anthropic.beta.messages.create({
      ...request,
      tools: [
        { type: "bash_20250124", name: "bash" },
        { type: "text_editor_20250728", name: "str_replace_based_edit_tool", max_characters: 100 },
        { type: "memory_20250818", name: "memory" },
        { type: "web_search_20250305", name: "web_search", max_uses: 3 },
        { type: "code_execution_20250825", name: "code_execution" },
        { type: "computer_20250124", name: "computer", display_width_px: 1, display_height_px: 1 },
        { type: "mcp_toolset", mcp_server_name: "x" },
      ],
    })
    expect(message.content).toMatchObject([{ type: "tool_use", name: "bash", input: { command: "ls" } }])
    expect(server.prompt()).toBe("bash str_replace_based_edit_tool memory <user>hi;")
    expect(await (await fetch(`${server.url}/metrics`)).text()).toContain(
      'rocmforge_ignored_fields_total{field="unknown"} 4',
    )
  })

  test("may have further keys, and only tools that are left out are no tools", async () => {
    await using server = await serve("ok")
    const keys = {
      defer_loading: true,
      input_examples: [{}],
      allowed_callers: ["direct"],
      strict: null,
      eager_input_streaming: true,
      x: 1,
    }
    const tool = {
      type: "custom",
      name: "f",
      input_schema: { type: "object" },
      cache_control: { type: "ephemeral", ttl: "1h" },
    }
    expect(await server.promptOf({ tools: [{ ...tool, ...keys }] })).toBe("f <user>hi;")
    expect(await server.promptOf({ tools: [{ type: "web_fetch_20250910", name: "web_fetch" }] })).toBe("<user>hi;")
  })
})

describe("histories", () => {
  test("keep their texts, and drop what only Anthropic can read", async () => {
    await using server = await serve("ok")
    const prompt = await server.promptOf({
      messages: [
        { role: "system", content: "S" },
        {
          role: "user",
          content: [{ type: "document", source: { type: "text", media_type: "text/plain", data: "D" }, title: "T" }],
        },
        {
          role: "assistant",
          content: [
            { type: "thinking", thinking: "hm", signature: "sig" },
            { type: "redacted_thinking", data: "xyz" },
            { type: "server_tool_use", id: "s", name: "web_search", input: {} },
            { type: "web_search_tool_result", tool_use_id: "s", content: [] },
            { type: "text", text: "A", citations: [{ type: "web_search_result_location" }] },
            { type: "text", text: "" },
            use("a"),
          ],
          stop_reason: "tool_use",
        },
        {
          role: "user",
          content: [
            result("a", [
              { type: "text", text: "R" },
              { type: "tool_reference", tool_name: "g" },
              { type: "image", source: { type: "base64", media_type: "image/png", data: "aGk=" } },
              {
                type: "search_result",
                source: "url",
                title: "t",
                content: [{ type: "text", text: "c" }],
                citations: { enabled: true },
              },
            ]),
          ],
        },
      ],
    })
    expect(prompt).toBe(
      "<system>S;<user>T\nD\n;<assistant>(hm)Af{};<tool>Rg\n[An image, which this model cannot see.]t\nurl\nc\n=a;",
    )
  })

  test("have results in the order of their calls, and one message for each turn", async () => {
    await using server = await serve("ok")
    const prompt = await server.promptOf({
      system: "S",
      messages: [
        { role: "system", content: "S2" },
        { role: "user", content: "one" },
        { role: "user", content: [{ type: "text", text: "two" }] },
        { role: "assistant", content: [use("a", "f")] },
        { role: "assistant", content: [use("b", "g"), use("c", "h")] },
        { role: "user", content: [{ type: "text", text: "so" }, result("c", "3"), result("a", null)] },
        { role: "user", content: [result("b", "2")] },
      ],
    })
    expect(prompt).toBe("<system>S\n\nS2;<user>one\n\ntwo;<assistant>f{}g{}h{};<tool>=a;<tool>3=c;<user>so;<tool>2=b;")
  })
})

describe("hints", () => {
  test("of all kinds are accepted", async () => {
    await using server = await serve("abc")
    for (const fields of [
      { thinking: { type: "enabled", budget_tokens: 1024 } },
      { thinking: { type: "adaptive", display: "summarized", block_binding: null } },
      { metadata: { anything: 1 }, service_tier: "batch", container: "c", speed: "fast", inference_geo: "us" },
      { mcp_servers: [], betas: [], temperature: 1, top_p: 0.5, stop_sequences: ["", "\n"] },
      { output_config: { effort: "max", task_budget: { type: "tokens", total: 1 } }, unknown_field: 1 },
      { context_management: { edits: [{ type: "compact_20260112", trigger: null }] } },
    ])
      expect(await server.promptOf(fields, "?beta=true")).toEndWith("<user>hi;")
    const strict = await serve("abc", { strict: true })
    await using _ = strict
    expect((await strict.post({ unknown_field: 1 })).status).toBe(400)
    expect((await strict.post({ metadata: { anything: 1 } })).status).toBe(200)
  })

  test("turn thinking on and off", async () => {
    await using server = await serve("ok")
    expect(await server.promptOf({ thinking: { type: "enabled", budget_tokens: 9999 } })).toBe("[true]<user>hi;")
    expect(await server.promptOf({ thinking: { type: "disabled" } })).toBe("[false]<user>hi;")
  })

  test("limit thinking by a budget", async () => {
    await using server = await serve("<think>One, two, three.</think>Four.")
    const message = await server.anthropic.messages.create({
      ...request,
      max_tokens: 60,
      thinking: { type: "enabled", budget_tokens: 8 },
    })
    expect(message.content[0]).toMatchObject({ type: "thinking", thinking: "One, two" })
    expect(server.engine.requests).toHaveLength(2)
  })

  test("can leave out the text of thinking", async () => {
    await using server = await serve("<think>Secret.</think>Four.")
    const body = { ...request, thinking: { type: "adaptive", display: "omitted" } as const }
    const blocks = [
      { type: "thinking", thinking: "", signature: "" },
      { type: "text", text: "Four.", citations: [] },
    ]
    expect((await server.anthropic.messages.create(body)).content as unknown[]).toEqual(blocks)
    expect((await server.anthropic.messages.stream(body).finalMessage()).content as unknown[]).toEqual(blocks)
  })
})

test("output formats constrain the text, under both names", async () => {
  await using server = await serve('{"a": 1}')
  const format = { type: "json_schema" as const, schema: { type: "object", properties: { a: { type: "integer" } } } }
  for (const fields of [{ output_config: { format } }, { output_format: format }]) {
    await server.promptOf(fields)
    expect(server.engine.requests.at(-1)?.constraint).toMatchObject({
      type: "json_schema",
      schema: JSON.stringify(format.schema),
    })
  }
})

describe("context management", () => {
  const turn = (id: string) => [
    { role: "assistant", content: [{ type: "thinking", thinking: `t${id}`, signature: "" }, use(id, "f", { x: id })] },
    {
      role: "user",
      content: [result(id, `a long result of ${id} that is worth clearing, since nobody reads it again`)],
    },
  ]
  const messages = [...request.messages, ...["a", "b", "c"].flatMap(turn)]
  const edit = {
    type: "clear_tool_uses_20250919",
    trigger: { type: "tool_uses", value: 2 },
    keep: { type: "tool_uses", value: 1 },
    exclude_tools: ["g"],
    clear_tool_inputs: true,
  }
  const cleared = "[The result of this call was cleared to save space.]"

  test("clears older thinking and tool uses, and reports both", async () => {
    await using server = await serve("ok")
    const whole = await server.promptOf({ messages })
    const context_management = { edits: [{ type: "clear_thinking_20251015" }, edit] }
    const response = await server.post({ messages, context_management })
    const { context_management: report } = (await response.json()) as Anthropic.Beta.BetaMessage
    const prompt = server.prompt()
    expect(prompt).toBe(
      `<user>hi;<assistant>f{};<tool>${cleared}=a;<assistant>f{};<tool>${cleared}=b;` +
        '<assistant>(tc)f{"x": "c"};<tool>a long result of c that is worth clearing, since nobody reads it again=c;',
    )
    expect(report?.applied_edits).toEqual([
      { type: "clear_thinking_20251015", cleared_input_tokens: 8, cleared_thinking_turns: 2 },
      {
        type: "clear_tool_uses_20250919",
        cleared_input_tokens: whole.length - prompt.length - 8,
        cleared_tool_uses: 2,
      },
    ])
    const counted = await server.anthropic.beta.messages.countTokens({
      model: "script",
      messages: messages as Anthropic.Beta.BetaMessageParam[],
      context_management: context_management as Anthropic.Beta.BetaContextManagementConfig,
    })
    expect(counted).toEqual({
      input_tokens: prompt.length,
      context_management: { original_input_tokens: whole.length },
    })
  })

  test("does nothing below its trigger, for excluded tools, and where it frees too little", async () => {
    await using server = await serve("ok")
    const whole = await server.promptOf({ messages })
    for (const change of [
      { trigger: { type: "tool_uses", value: 3 } },
      { trigger: null },
      { exclude_tools: ["f"] },
      { keep: { type: "tool_uses", value: 3 } },
      { clear_at_least: { type: "input_tokens", value: 10_000 } },
    ]) {
      const response = await server.post({
        messages,
        context_management: { edits: [{ ...edit, ...change }] },
        stream: true,
      })
      expect(await response.text()).toContain('"context_management":{"applied_edits":[]}')
      expect(server.prompt()).toBe(whole)
    }
  })
})
