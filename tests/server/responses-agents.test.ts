/** What agents send to `/v1/responses`: namespaces, custom tools, items of OpenAI's own tools, and hints. */

import { describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { clientOf } from "../support/http.ts"
import { ask, call, events, open, prompt } from "./support/responses.ts"
import { saying, serveScript } from "./support/script-model.ts"

type Tools = OpenAI.Responses.Tool[]
const wide = { contextLength: 16384 }
const calls = (...list: readonly [name: string, args: object][]) =>
  list.map(([name, args]) => `<tool_call>\n${JSON.stringify({ name, arguments: args })}\n</tool_call>`).join("\n")
const fn = (name: string) => ({
  type: "function" as const,
  name,
  description: `Does ${name}.`,
  parameters: { type: "object", properties: { x: { type: "string" } } },
  strict: false,
})
const post = async (url: string, body: object) => {
  const response = await call(url, "", "POST", { ...ask, ...body })
  const answer = await response.json()
  expect(answer.error ?? null).toBeNull()
  return answer as OpenAI.Responses.Response
}

test("what Codex sends is accepted, and calls of its tools go back and forth", async () => {
  await using server = await open(calls(["close_agent", { x: "a" }], ["exec_command", { x: "ls" }]), {}, {}, wide)
  const tools = [
    fn("exec_command"),
    { type: "namespace", name: "multi_agent_v1", description: "Agents.", tools: [fn("close_agent"), fn("wait_agent")] },
    { type: "web_search", external_web_access: false },
  ]
  const text = (role: string, text: string) => ({
    type: "message",
    id: "msg_1",
    role,
    content: [{ type: "input_text", text }],
  })
  const body = {
    stream: true,
    input: [
      text("developer", "Be brief."),
      text("developer", "Skills: none"),
      text("user", "cwd"),
      text("user", "run it"),
    ],
    tools,
    tool_choice: "auto",
    parallel_tool_calls: true,
    reasoning: { summary: "auto" },
    store: false,
    include: ["reasoning.encrypted_content"],
    prompt_cache_key: "key",
    client_metadata: { thread_id: "t" },
  }
  const first = events(await (await call(server.url, "", "POST", { ...ask, ...body })).text())
  const done = first.filter(({ type }) => type === "response.output_item.done").map(({ item }) => item)
  expect(done).toMatchObject([
    {
      type: "function_call",
      name: "close_agent",
      namespace: "multi_agent_v1",
      arguments: '{"x":"a"}',
      status: "completed",
    },
    { type: "function_call", name: "exec_command", arguments: '{"x":"ls"}' },
  ])
  expect(done[1]).not.toHaveProperty("namespace")
  const { response } = first.at(-1)
  expect(response).toMatchObject({ status: "completed", tools: tools.slice(0, 2) })
  expect(prompt(server)).toContain("Does wait_agent.")
  const outputs = done.map(({ call_id }) => ({
    type: "function_call_output",
    id: "fco_1",
    call_id,
    output: `of ${call_id}`,
  }))
  await post(server.url, { ...body, stream: false, input: [...body.input, ...done, ...outputs] })
  const results = done.map(({ call_id }) => `<tool_response>\nof ${call_id}\n</tool_response>`).join("\n")
  const made =
    '<tool_call>\n{"name": "close_agent", "arguments": {"x":"a"}}\n</tool_call>\n<tool_call>\n{"name": "exec_command", "arguments": {"x":"ls"}}\n</tool_call>'
  expect(prompt(server)).toEndWith(`<user>cwd;<user>run it;<assistant>${made};<user>${results};<assistant>`)
})

describe("namespaces", () => {
  const tools = ["one", "two__"].map((name) => ({
    type: "namespace",
    name,
    description: "",
    tools: [fn("f")],
  })) as Tools

  test("tell apart tools of the same name", async () => {
    await using server = await open(calls(["two__f", { x: "y" }]), {}, {}, wide)
    const { output } = await clientOf(server.url).responses.create({ ...ask, tools })
    expect(output).toMatchObject([{ type: "function_call", name: "f", namespace: "two__", arguments: '{"x":"y"}' }])
    const [item] = output as OpenAI.Responses.ResponseFunctionToolCall[]
    const result = { type: "function_call_output" as const, call_id: item?.call_id ?? "", output: "done" }
    await clientOf(server.url).responses.create({
      ...ask,
      tools,
      input: [{ role: "user", content: "hi" }, ...output, result] as never,
    })
    expect(prompt(server)).toContain('{"name": "two__f", "arguments": {"x":"y"}}')
    expect(prompt(server)).toContain('"one__f"')
  })

  test("can be chosen from", async () => {
    await using server = await open("ok", {}, {}, wide)
    await post(server.url, {
      tools: [...tools, fn("g")],
      tool_choice: {
        type: "allowed_tools",
        mode: "auto",
        tools: [
          { type: "function", name: "f", namespace: "one" },
          { type: "function", name: "g" },
          { type: "web_search" },
        ],
      },
    })
    expect(prompt(server)).toContain('"one__f"')
    expect(prompt(server)).toContain('"g"')
    expect(prompt(server)).not.toContain('"two__f"')
    const { tool_choice } = await post(server.url, {
      tools: [...tools, fn("g")],
      tool_choice: { type: "function", name: "f", namespace: "two__" },
    })
    expect(tool_choice as object).toEqual({ type: "function", name: "f", namespace: "two__" })
    expect(server.engine.requests.at(-1)?.constraint).toMatchObject({
      type: "tools",
      required: true,
      calls: [expect.anything()],
    })
  })
})

test("tools that the input adds are offered too", async () => {
  await using server = await open(calls(["exec", { input: "ls" }]), {}, {}, wide)
  const format = { type: "grammar", syntax: "lark", definition: "start: /.+/" }
  const functions = {
    type: "namespace",
    name: "functions",
    description: "",
    tools: [{ type: "custom", name: "exec", format }, fn("wait")],
  }
  const added = { type: "additional_tools", id: "at_1", role: "developer", tools: [functions] }
  const found = { type: "tool_search_output", call_id: "c", tools: [functions, fn("found")] }
  const user = { role: "user", content: "hi" }
  const { output, tools } = await post(server.url, { input: [added, user, found] })
  expect(output).toMatchObject([{ type: "custom_tool_call", name: "exec", namespace: "functions", input: "ls" }])
  expect(tools).toMatchObject([functions, functions, { name: "found" }])
  for (const name of ["exec", "wait", "found"]) expect(prompt(server).split(`{"name":"${name}"`)).toHaveLength(2)
})

describe("custom tools", () => {
  const patch = '*** Begin "Patch"\n+é\\n\u{1f600}\n*** End'
  const tool = (format?: OpenAI.Responses.CustomTool["format"]) =>
    [{ type: "custom", name: "apply_patch", description: "Patches.", ...(format && { format }) }] as Tools

  test("take a text, which is streamed", async () => {
    await using server = await open(`Well.${calls(["apply_patch", { input: patch }])}`, {}, {}, wide)
    const { responses } = clientOf(server.url)
    const { output, tools } = await responses.create({ ...ask, tools: tool() })
    expect(tools).toEqual(tool())
    const item = { type: "custom_tool_call", status: "completed", name: "apply_patch", input: patch }
    expect(output).toMatchObject([{ type: "message" }, item])
    const list = events(await (await call(server.url, "", "POST", { ...ask, tools: tool(), stream: true })).text())
    const of = list.filter(({ output_index }) => output_index === 1)
    const deltas = of.filter(({ type }) => type === "response.custom_tool_call_input.delta")
    expect(deltas.length).toBeGreaterThan(20)
    expect(deltas.map(({ delta }) => delta).join("")).toBe(patch)
    expect(of[0]).toMatchObject({
      type: "response.output_item.added",
      item: { ...item, status: "in_progress", input: "" },
    })
    expect(of.slice(deltas.length + 1)).toMatchObject([
      { type: "response.custom_tool_call_input.done", input: patch },
      { type: "response.output_item.done", item },
    ])
  })

  test("get their outputs in the next request, also in a stored one", async () => {
    await using server = await open(calls(["apply_patch", { input: patch }]), {}, {}, wide)
    const { responses } = clientOf(server.url)
    const first = await responses.create({ ...ask, tools: tool() })
    const [item] = first.output as OpenAI.Responses.ResponseCustomToolCall[]
    const output = [
      { type: "input_text" as const, text: "pat" },
      { type: "input_text" as const, text: "ched" },
    ]
    const result = { type: "custom_tool_call_output" as const, call_id: item?.call_id ?? "", output }
    const second = await responses.create({ ...ask, tools: tool(), previous_response_id: first.id, input: [result] })
    const continued = prompt(server)
    expect(continued).toContain(JSON.stringify(patch))
    expect(continued).toEndWith("<user><tool_response>\npatched\n</tool_response>;<assistant>")
    expect((await responses.inputItems.list(second.id)).data).toMatchObject([
      { type: "custom_tool_call_output", output: "patched" },
    ])
    const input = [{ role: "user" as const, content: "hi" }, ...first.output, result]
    await responses.create({ ...ask, tools: tool(), input: input as OpenAI.Responses.ResponseInput, store: false })
    expect(prompt(server)).toBe(continued)
  })

  test("keep to a regular expression, and are shown a Lark grammar", async () => {
    await using server = await open("ok", {}, {}, wide)
    await post(server.url, { tools: tool({ type: "grammar", syntax: "regex", definition: "[a-c]+" }) })
    const input = { type: "string", pattern: "^(?:[a-c]+)$" }
    const constraint = server.engine.requests.at(-1)?.constraint
    const [held] = constraint?.type === "tools" ? constraint.calls : []
    expect(JSON.parse(held?.parameters ?? "null")).toMatchObject({ properties: { input } })
    await post(server.url, { tools: tool({ type: "grammar", syntax: "regex", definition: "(?=a)b" }) })
    const { tools } = await post(server.url, {
      tools: tool({ type: "grammar", syntax: "lark", definition: 'start: "x"' }),
    })
    expect(prompt(server)).toContain("start: ")
    expect(tools).toMatchObject([{ format: { syntax: "lark" } }])
    await post(server.url, { tools: tool(), tool_choice: { type: "custom", name: "apply_patch" } })
    expect(server.engine.requests.at(-1)?.constraint).toMatchObject({ required: true })
  })
})

test("messages of one role in a row are joined for templates that want turns to alternate", async () => {
  const chatTemplate = new ChatTemplate(
    "{% set ns = namespace(last='') %}{% for m in messages %}{% if m.role == ns.last or (m.role == 'system' and not loop.first) %}" +
      "{{ raise_exception('must alternate') }}{% endif %}{% set ns.last = m.role %}<{{ m.role }}>{{ m.content }};{% endfor %}",
  )
  await using server = await serveScript({ tokens: saying("ok") }, {}, {}, { chatTemplate })
  const say = (role: string, content: string) => ({ role, content })
  const turns = [say("user", "b"), say("user", "c"), say("assistant", "d"), say("developer", "e"), say("user", "f")]
  await post(server.url, { input: [say("developer", "a"), ...turns] })
  expect(prompt(server)).toBe("<system>a\n\ne;<user>b\n\nc;<assistant>d;<user>f;")
  const twice = await call(server.url, "", "POST", { ...ask, input: [say("assistant", "d"), say("assistant", "d")] })
  expect([twice.status, (await twice.json()).error.code]).toEqual([400, "chat_template_raised"])
})

test("reasoning comes back in encrypted_content, where that is asked for", async () => {
  await using server = await open("<think>Two and zwölf.</think>It is 4.")
  const body = { include: ["reasoning.encrypted_content"], store: false }
  const { output } = await post(server.url, body)
  const [{ encrypted_content: seal }] = output as [OpenAI.Responses.ResponseReasoningItem]
  expect(seal).toBeString()
  const input = [
    { role: "user", content: "hi" },
    { type: "reasoning", id: "rs_1", summary: [], encrypted_content: seal, content: null, status: null },
    {
      type: "message",
      role: "assistant",
      phase: "final_answer",
      content: [{ type: "output_text", text: "4", annotations: [], logprobs: [] }],
    },
    { type: "reasoning", summary: [], encrypted_content: "gAAAA" },
    { role: "user", content: "Sure?" },
  ]
  await post(server.url, { ...body, input })
  expect(prompt(server)).toBe("<user>hi;<assistant>(Two and zwölf.)4;<user>Sure?;<assistant>")
  const plain = await post(server.url, {})
  expect(plain.output[0]).not.toHaveProperty("encrypted_content")
})

test("items of tools that ran elsewhere are left out, and those of the client are kept", async () => {
  await using server = await open("ok")
  await post(server.url, {
    input: [
      { role: "user", content: [{ type: "text", text: "hi" }] },
      { type: "web_search_call", id: "ws", status: "completed", action: { type: "search" } },
      { type: "compaction", encrypted_content: "x" },
      { type: "ghost_snapshot", ghost_commit: {} },
      {
        type: "local_shell_call",
        id: "a",
        call_id: "c1",
        status: "completed",
        action: { type: "exec", command: ["ls"] },
      },
      { type: "local_shell_call_output", id: "c1", output: "a.txt" },
      { type: "shell_call", call_id: "c2", action: { commands: ["pwd"] }, status: "completed" },
      {
        type: "shell_call_output",
        call_id: "c2",
        output: [{ stdout: "/", stderr: "", outcome: { type: "exit", exit_code: 0 } }],
      },
      { type: "apply_patch_call", call_id: "c3", operation: { type: "delete_file", path: "x" }, status: "completed" },
      { type: "apply_patch_call_output", call_id: "c3", status: "completed" },
      {
        type: "function_call",
        call_id: "c4",
        name: "gone",
        namespace: "n",
        arguments: "{}",
        id: null,
        status: null,
        caller: null,
      },
      { type: "function_call_output", call_id: "c4", output: [{ type: "input_text", text: "R" }], status: null },
      {
        type: "function_call_output",
        call_id: "c4",
        output: [{ type: "input_image", image_url: "data:", detail: "high" }],
      },
    ],
  })
  const text = prompt(server)
  for (const part of [
    '"local_shell"',
    '["ls"]',
    "a.txt",
    '["pwd"]',
    '"stdout":"/"',
    '"delete_file"',
    "completed",
    '"gone"',
    "\nR\n",
    "[An image, which this model cannot see.]",
  ])
    expect(text).toContain(part)
  expect(text).not.toContain("web_search")
})

test("hints are accepted, and those without effect are counted", async () => {
  await using server = await open("ok")
  for (const fields of [
    { text: { verbosity: "low" }, reasoning: { effort: "xhigh", summary: "detailed", generate_summary: "auto" } },
    { include: ["web_search_call.results"], top_logprobs: 3, max_tool_calls: 1, service_tier: "flex" },
    {
      prompt_cache_key: "k",
      prompt_cache_retention: "24h",
      safety_identifier: "s",
      user: "u",
      conversation: null,
      prompt: null,
    },
    { stream_options: { include_obfuscation: true }, context_management: [{ type: "compaction" }], unknown_field: 1 },
    {
      tools: [
        { ...fn("f"), defer_loading: true, output_schema: {} },
        { type: "tool_search" },
        { type: "mcp", server_label: "x" },
      ],
    },
    { instructions: null, metadata: null, truncation: null, tool_choice: "auto", parallel_tool_calls: null, tools: [] },
  ])
    expect((await post(server.url, fields)).status).toBe("completed")
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  for (const field of ["text.verbosity", "reasoning.summary", "max_tool_calls", "service_tier", "prompt_cache_key"])
    expect(metrics).toContain(`rocmforge_ignored_fields_total{field="${field}"} 1`)
  const { id } = await post(server.url, {})
  expect((await call(server.url, `/${id}?include[]=anything&new_option=1`)).status).toBe(200)
  await using strict = await open("ok", { strict: true })
  expect((await call(strict.url, "", "POST", { ...ask, unknown_field: 1 })).status).toBe(400)
  expect((await call(strict.url, "", "POST", { ...ask, client_metadata: {} })).status).toBe(200)
})

test("a WebSocket is refused by a plain error, after which clients use HTTP", async () => {
  await using server = await open("ok")
  const headers = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
  }
  const response = await fetch(`${server.url}/v1/responses`, { headers })
  expect(response.status).toBe(405)
  expect((await response.json()).error.code).toBe("method_not_allowed")
})
