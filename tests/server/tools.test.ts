/** Tool calls with the official client, in every family's format: plain, streamed, and in the next prompt. */

import { describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

const MESSAGES =
  "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %};{% endfor %}"
const TOOLS = "{% if tools %}{{ tools | tojson }}{% endif %}"
/** Per family: a template with its markers, and an answer in its format with the text "Hm." and the calls f({"x": "y"}) and g({}). */
const FAMILIES: Record<string, [template: string, answer: string]> = {
  hermes: [
    `${TOOLS}{# <tool_call> #}${MESSAGES}`,
    'Hm.\n<tool_call>\n{"name": "f", "arguments": {"x": "y"}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>',
  ],
  smollm: [
    `{# SmolLM #}${MESSAGES}`,
    'Hm.<tool_call>[{"name": "f", "arguments": {"x": "y"}}, {"name": "g", "arguments": {}}]</tool_call>',
  ],
  mistral: [
    `${TOOLS}{# [TOOL_CALLS] #}${MESSAGES}`,
    'Hm.[TOOL_CALLS] [{"name": "f", "arguments": {"x": "y"}}, {"name": "g", "arguments": {}}]',
  ],
  "mistral, since 2025": [
    `${TOOLS}{# [TOOL_CALLS] [ARGS] #}${MESSAGES}`,
    'Hm.[TOOL_CALLS]f[ARGS]{"x": "y"}[TOOL_CALLS]g[ARGS]{}',
  ],
  llama3: [
    `${TOOLS}{# <|start_header_id|> "parameters" #}${MESSAGES}`,
    'Hm. {"name": "f", "parameters": {"x": "y"}}; {"name": "g", "parameters": {}}',
  ],
}

const tool = (name: string): OpenAI.ChatCompletionFunctionTool => ({
  type: "function",
  function: {
    name,
    description: `Does ${name}.`,
    parameters: { type: "object", properties: { x: { type: "string" } } },
  },
})
const tools = [tool("f"), tool("g")]
const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "Do it." }]
const request = { model: "script", messages, tools, max_tokens: 500 }

async function serve(answer: string, template: string) {
  const server = await serveScript(
    { tokens: saying(answer) },
    {},
    { contextLength: 8192 },
    { chatTemplate: new ChatTemplate(template) },
  )
  return Object.assign(server, {
    prompt: () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
  })
}

describe.each(Object.entries(FAMILIES))("%s", (family, [template, answer]) => {
  const id = family.startsWith("mistral") ? /^[a-zA-Z0-9]{9}$/ : /^call_[a-zA-Z0-9]{24}$/
  const expected = [
    { id: expect.stringMatching(id), type: "function", function: { name: "f", arguments: '{"x": "y"}' } },
    { id: expect.stringMatching(id), type: "function", function: { name: "g", arguments: "{}" } },
  ]

  test("calls are returned separately from the content", async () => {
    await using server = await serve(answer, template)
    const { choices, usage } = await server.client.chat.completions.create(request)
    expect(choices).toEqual([
      {
        index: 0,
        message: { role: "assistant", content: "Hm.", tool_calls: expected, refusal: null },
        logprobs: null,
        finish_reason: "tool_calls",
      },
    ] as never)
    expect(usage?.completion_tokens).toBe(answer.length + 1)
    expect(server.prompt()).toContain('"description"')
  })

  test("streamed calls are the same, with arguments in pieces", async () => {
    await using server = await serve(answer, template)
    const stream = server.client.chat.completions.stream(request)
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall[] = []
    for await (const chunk of stream) deltas.push(...(chunk.choices[0]?.delta.tool_calls ?? []))
    const [choice] = (await stream.finalChatCompletion()).choices
    expect(choice?.finish_reason).toBe("tool_calls")
    expect(choice?.message.content).toBe("Hm.")
    expect(choice?.message.tool_calls).toMatchObject(expected)
    // The name comes once, before its arguments. Those come letter by letter, since each letter is a token.
    expect(deltas[0]).toEqual({
      index: 0,
      id: expected[0]?.id,
      type: "function",
      function: { name: "f", arguments: "" },
    } as never)
    expect(deltas.slice(1, 4)).toEqual(["{", '"', "x"].map((letter) => ({ index: 0, function: { arguments: letter } })))
    expect(deltas.filter((delta) => delta.id !== undefined).map(({ index }) => index)).toEqual([0, 1])
  })

  test("calls and their results are part of the next prompt", async () => {
    await using server = await serve("Done.", template)
    const { choices } = await server.client.chat.completions.create({
      ...request,
      messages: [
        ...messages,
        {
          role: "assistant",
          content: null,
          tool_calls: [{ id: "call_1", type: "function", function: { name: "f", arguments: '{"x":"é"}' } }],
        },
        { role: "tool", tool_call_id: "call_1", content: "42" },
      ],
    })
    expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "Done." } })
    expect(choices[0]?.message.tool_calls).toBeUndefined()
    const prompt = server.prompt()
    // An object if the template writes calls, else the model's own text.
    expect(prompt).toContain(
      family === "smollm"
        ? '<tool_call>[{"name": "f", "arguments": {"x":"é"}}]</tool_call>'
        : '"arguments": {"x": "é"}',
    )
    expect(prompt).toContain("42")
  })
})

test("the client's tool loop runs the calls, plain and streamed", async () => {
  const [template, answer] = FAMILIES.hermes ?? ["", ""]
  for (const stream of [false, true]) {
    const left = [answer, "Done."].map(saying)
    const script = {
      get tokens() {
        return left.shift() ?? []
      },
    }
    await using server = await serveScript(
      script,
      {},
      { contextLength: 8192 },
      { chatTemplate: new ChatTemplate(template) },
    )
    const { client } = server
    const ran: unknown[] = []
    const runnable = (name: string) => ({
      type: "function" as const,
      function: {
        name,
        description: name,
        parameters: { type: "object", properties: {} },
        parse: JSON.parse,
        function: (args: object) => {
          ran.push([name, args])
          return "42"
        },
      },
    })
    const { completions } = client.chat
    const body = { model: "script", messages, tools: [runnable("f"), runnable("g")], max_tokens: 500 }
    const runner = stream ? completions.runTools({ ...body, stream: true }) : completions.runTools(body)
    expect(await runner.finalContent()).toBe("Done.")
    expect(ran).toEqual([
      ["f", { x: "y" }],
      ["g", {}],
    ])
  }
})

describe("the constraint of an answer", () => {
  const HERMES = FAMILIES.hermes?.[0] ?? ""
  const constraintOf = async (fields: object, template = HERMES) => {
    await using server = await serve("x", template)
    await server.client.chat.completions.create({ ...request, ...fields })
    return server.engine.requests[0]?.constraint
  }
  const text = '{"type":"object","properties":{"x":{"type":"string"}}}'
  const calls = ["f", "g"].map((name) => ({ begin: `{"name": "${name}", "arguments": `, parameters: text, end: "}" }))
  const expected = {
    type: "tools",
    param: "tools",
    trigger: "<tool_call>",
    open: "\n",
    calls,
    close: "\n</tool_call>",
    between: "\n",
    required: false,
    parallel: true,
  }

  test("allows calls among free text, only the named tool, or at most one call", async () => {
    expect(await constraintOf({})).toEqual(expected as never)
    expect(await constraintOf({ tool_choice: "required", parallel_tool_calls: false })).toEqual({
      ...expected,
      required: true,
      parallel: false,
    } as never)
    expect(await constraintOf({ tool_choice: { type: "function", function: { name: "g" } } })).toEqual({
      ...expected,
      calls: calls.slice(1),
      required: true,
      parallel: false,
    } as never)
    expect(await constraintOf({ tool_choice: "none" })).toBeUndefined()
    expect(await constraintOf({ tools: [] })).toBeUndefined()
  })

  test("begins after a thinking model's thoughts", async () => {
    const constraint = await constraintOf({}, `${HERMES}{# </think> #}<think>`)
    expect(constraint?.reasoning).toEqual({ open: "<think>", close: "</think>", inside: true })
  })

  test("keeps what it can of a non-strict schema, and says so", async () => {
    const functions = [
      { name: "f", parameters: { type: "object", properties: { x: { type: "string", pattern: "(a)\\1" } } } },
      { name: "g", parameters: { properties: { x: { type: "string", description: "Not enforced." } } } },
      { name: "h" },
    ]
    const constraint = await constraintOf({ tools: functions.map((each) => ({ type: "function", function: each })) })
    const sent = constraint?.type === "tools" ? constraint.calls : []
    expect(sent.map(({ parameters, lenient }) => [JSON.parse(parameters), lenient])).toEqual([
      [functions[0]?.parameters, true],
      [{ properties: { x: { type: "string" } } }, undefined],
      [{ type: "object", properties: {}, additionalProperties: false }, undefined],
    ])
  })
})

test("schemas with too large a total size are refused", async () => {
  await using server = await serve("x", `{# tools <tool_call> #}${MESSAGES}`)
  const large = (name: string) => ({
    type: "function" as const,
    function: { name, parameters: { type: "object", properties: { a: { const: "x".repeat(600_000) } } } },
  })
  const body = { ...request, tools: [large("f"), large("g")] }
  const error = await server.client.chat.completions.create(body).catch((thrown) => thrown)
  expect(error).toMatchObject({ status: 400, param: "tools", code: "constraint_too_large" })
})

test("for a template without tools, a system prompt describes the tools, and calls are written as text", async () => {
  await using server = await serve('<tool_call>{"name": "g"}</tool_call>', MESSAGES)
  const call = (id: string, name: string) => ({ id, type: "function" as const, function: { name, arguments: "{}" } })
  const { choices } = await server.client.chat.completions.create({
    ...request,
    messages: [
      { role: "system", content: "Be brief." },
      ...messages,
      { role: "assistant", content: "Well.", tool_calls: [call("a", "f"), call("b", "g")] },
      { role: "tool", tool_call_id: "a", content: "1" },
      { role: "tool", tool_call_id: "b", content: [{ type: "text", text: "2" }] },
    ],
  })
  expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { name: "g", arguments: "{}" } }])
  expect(choices[0]?.message.content).toBeNull()
  const [system = "", rest = ""] = server.prompt().split("<user>Do it.;")
  expect(system).toStartWith("<system>Be brief.\n\n# Tools")
  for (const { function: described } of tools) expect(system).toContain(JSON.stringify(described))
  expect(rest).toBe(
    '<assistant>Well.\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>;' +
      "<user><tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>;",
  )
})

test("for a template without a system prompt, it is prepended to the first message", async () => {
  const template = `{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}${MESSAGES}`
  await using server = await serve("Hm.", template)
  await server.client.chat.completions.create(request)
  expect(server.prompt()).toMatch(/^<user># Tools[\s\S]*\n\nDo it\.;$/)
})

test("for a template that requires alternating turns, messages are merged into turns", async () => {
  const template = `{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}<{{ m.role }}>{{ m.content }};{% endfor %}`
  await using server = await serve("Hm.", template)
  const made = { id: "a", type: "function" as const, function: { name: "f", arguments: "{}" } }
  const { choices } = await server.client.chat.completions.create({
    ...request,
    messages: [
      ...messages,
      { role: "assistant", tool_calls: [made] },
      { role: "tool", tool_call_id: "a", content: "1" },
      { role: "user", content: "And?" },
    ],
  })
  expect(choices[0]?.message.content).toBe("Hm.")
  expect(server.prompt()).toEndWith("<user><tool_response>\n1\n</tool_response>\nAnd?;")
})

test("a template that converts each tool to a string, as SmolLM3's does, receives tools as JSON text", async () => {
  const template = `{% if tools %}{% set xml_tools = tools %}{% endif %}{% for t in xml_tools %}{{ t | string }}\n{% endfor %}{# <tool_call> #}${MESSAGES}`
  await using server = await serve("Hm.", template)
  await server.client.chat.completions.create(request)
  const [first, second] = tools.map((tool) => JSON.stringify(tool))
  expect(server.prompt()).toBe(`${first}\n${second}\n<user>Do it.;`)
})

test("with tool_choice none, the prompt has no tools, and calls are not parsed", async () => {
  const [template, answer] = FAMILIES.hermes ?? ["", ""]
  await using server = await serve(answer, template)
  const { choices } = await server.client.chat.completions.create({ ...request, tool_choice: "none" })
  expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: answer } })
  expect(server.prompt()).toBe("<user>Do it.;")
})

test("an answer that is cut off within a call has finish_reason length", async () => {
  await using server = await serve(
    '<tool_call>{"name": "f", "arguments": {"x": "yes"}}</tool_call>',
    `${TOOLS}{# <tool_call> #}${MESSAGES}`,
  )
  const { choices } = await server.client.chat.completions.create({ ...request, max_tokens: 47 })
  expect(choices[0]?.finish_reason).toBe("length")
  expect(choices[0]?.message.tool_calls).toMatchObject([{ function: { name: "f", arguments: '{"x": "ye' } }])
})

describe("a stop string within a call", () => {
  test.each(["y", "</tool_call>", "_call>", "name"])("is ignored: %s", async (stop) => {
    const [template, answer] = FAMILIES.hermes ?? ["", ""]
    await using server = await serve(answer, template)
    const { choices } = await server.client.chat.completions.create({ ...request, stop: [stop] })
    expect(choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { content: "Hm.", tool_calls: [{ function: { arguments: '{"x": "y"}' } }, { function: { name: "g" } }] },
    })
  })

  test("ends the answer before the calls", async () => {
    const [template, answer] = FAMILIES.hermes ?? ["", ""]
    await using server = await serve(answer, template)
    const { choices } = await server.client.chat.completions.create({ ...request, stop: ["m."] })
    expect(choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "H" } })
  })

  test("ends the answer with stop_everywhere", async () => {
    const [template, answer] = FAMILIES.hermes ?? ["", ""]
    await using server = await serve(answer, template)
    const everywhere = { ...request, stop_everywhere: true }
    const within = await server.client.chat.completions.create({ ...everywhere, stop: ["y"] })
    expect(within.choices[0]).toMatchObject({
      finish_reason: "stop",
      message: { tool_calls: [{ function: { name: "f", arguments: '{"x": "' } }] },
    })
    const after = await server.client.chat.completions.create({ ...everywhere, stop: ["</tool_call>"] })
    expect(after.choices[0]).toMatchObject({
      finish_reason: "tool_calls",
      message: { tool_calls: [{ function: { name: "f", arguments: '{"x": "y"}' } }] },
    })
  })
})

test("with required calls, an incomplete call is not returned as content", async () => {
  await using server = await serve('<tool_call>{"name": "f"', `${TOOLS}{# <tool_call> #}${MESSAGES}`)
  const cut = { ...request, max_tokens: 20, logprobs: true }
  const { choices } = await server.client.chat.completions.create({ ...cut, tool_choice: "required" })
  expect(choices[0]).toMatchObject({ finish_reason: "length", message: { content: "" } })
  expect(choices[0]?.logprobs?.content?.length).toBe(20)
  const auto = await server.client.chat.completions.create(cut)
  expect(auto.choices[0]?.message.content).toBe('<tool_call>{"name": ')
})

test("every choice has its own calls, and every token a log-probability", async () => {
  const [template, answer] = FAMILIES.hermes ?? ["", ""]
  await using server = await serve(answer, template)
  const { choices } = await server.client.chat.completions.create({ ...request, n: 2, logprobs: true })
  const ids = choices.flatMap(({ message }) => message.tool_calls?.map(({ id }) => id) ?? [])
  expect(new Set(ids).size).toBe(4)
  for (const { logprobs } of choices) expect(logprobs?.content?.map(({ token }) => token).join("")).toBe(answer)
})

test("calls within thoughts are not parsed", async () => {
  const template = `${TOOLS}{# <tool_call> </think> #}${MESSAGES}`
  const thought = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
  await using server = await serve(`<think>${thought}</think>\n\n${thought}`, template)
  const { choices } = await server.client.chat.completions.create(request)
  expect(choices[0]?.message).toMatchObject({ content: null, reasoning_content: thought } as object)
  expect(choices[0]?.message.tool_calls?.length).toBe(1)
})
