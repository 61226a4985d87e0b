/** Function calls in `/v1/responses`, with the official client and its helpers. */

import { describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { clientOf } from "../support/http.ts"
import { ask, call, events, open, prompt } from "./support/responses.ts"

const tool = (name: string): OpenAI.Responses.FunctionTool => ({
  type: "function",
  name,
  description: `Does ${name}.`,
  parameters: { type: "object", properties: { x: { type: "string" } } },
  strict: false,
})
const tools = [tool("f"), tool("g")]
const CALLS =
  'Hm.\n<tool_call>\n{"name": "f", "arguments": {"x": "y"}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
const wide = { contextLength: 8192 }

describe("calls", () => {
  const calls = [
    { type: "function_call", status: "completed", name: "f", arguments: '{"x": "y"}' },
    { type: "function_call", status: "completed", name: "g", arguments: "{}" },
  ]
  const items = [{ type: "message", status: "completed", content: [{ text: "Hm." }] }, ...calls]

  test("are output items after the message, plain and parsed by the client's helper", async () => {
    await using server = await open(CALLS, {}, {}, wide)
    const { responses } = clientOf(server.url)
    const plain = await responses.create({ ...ask, tools })
    expect(plain).toMatchObject({
      status: "completed",
      output: items,
      tools,
      tool_choice: "auto",
      parallel_tool_calls: true,
    })
    const [, first, second] = plain.output as OpenAI.Responses.ResponseFunctionToolCall[]
    expect(first?.id).toStartWith("fc_")
    expect(first?.call_id).toStartWith("call_")
    expect(first?.call_id).not.toBe(second?.call_id ?? "")
    expect(prompt(server)).toContain("Does f.")
    const streamed = await responses.stream({ ...ask, tools }).finalResponse()
    expect(streamed).toMatchObject({ status: "completed", output: items })
    expect(await responses.retrieve(streamed.id)).toMatchObject({ output: items })
  })

  test("are streamed as events of their own, with arguments in pieces", async () => {
    await using server = await open(CALLS, {}, {}, wide)
    const list = events(await (await call(server.url, "", "POST", { ...ask, tools, stream: true })).text())
    const { output } = list.at(-1).response
    const of = (index: number) => list.filter(({ output_index }) => output_index === index)
    const [added, ...rest] = of(1)
    const { id } = output[1]
    expect(added).toMatchObject({
      type: "response.output_item.added",
      item: { ...output[1], status: "in_progress", arguments: "" },
    })
    const deltas = rest.filter(({ type }) => type === "response.function_call_arguments.delta")
    expect(deltas.map(({ delta }) => delta)).toEqual([...'{"x": "y"}'])
    expect(deltas.every(({ item_id }) => item_id === id)).toBeTrue()
    expect(rest.slice(deltas.length)).toMatchObject([
      { type: "response.function_call_arguments.done", item_id: id, name: "f", arguments: '{"x": "y"}' },
      { type: "response.output_item.done", item: output[1] },
    ])
    expect(of(2).at(-1)).toMatchObject({ type: "response.output_item.done", item: calls[1] as object })
    expect(list.map(({ type }) => type)).not.toContain("response.failed")
  })

  test("that are cut off leave the response and the call incomplete", async () => {
    await using server = await open(CALLS, {}, {}, wide)
    const max_output_tokens = CALLS.indexOf('y"}}')
    const { status, output, incomplete_details } = await clientOf(server.url).responses.create({
      ...ask,
      tools,
      max_output_tokens,
    })
    expect([status, incomplete_details?.reason]).toEqual(["incomplete", "max_output_tokens"])
    expect(output[1]).toMatchObject({ type: "function_call", status: "incomplete", arguments: '{"x": "' })
  })

  test("are answered by function_call_output items", async () => {
    await using server = await open(CALLS, {}, {}, wide)
    const { responses } = clientOf(server.url)
    const first = await responses.create({ ...ask, tools })
    const input = first.output.flatMap((item) =>
      item.type === "function_call"
        ? [{ type: "function_call_output" as const, call_id: item.call_id, output: `result of ${item.name}` }]
        : [],
    )
    await responses.create({ model: "script", tools, previous_response_id: first.id, input })
    const continued = prompt(server)
    expect(continued).toContain('<assistant>Hm.\n<tool_call>\n{"name": "f", "arguments": {"x": "y"}}\n</tool_call>')
    expect(continued).toEndWith(
      "<tool_response>\nresult of f\n</tool_response>\n<tool_response>\nresult of g\n</tool_response>;<assistant>",
    )
    // The same without stored responses, and with the items of the client's helper, including its parsed fields.
    const helped = await responses.stream({ ...ask, tools }).finalResponse()
    expect(helped.output[1]).toHaveProperty("parsed_arguments")
    for (const { output } of [first, helped]) {
      const results = output.flatMap((item) =>
        item.type === "function_call"
          ? [{ type: "function_call_output" as const, call_id: item.call_id, output: `result of ${item.name}` }]
          : [],
      )
      const whole = [{ role: "user" as const, content: "hi" }, ...output, ...results]
      await responses.create({ model: "script", tools, input: whole as OpenAI.Responses.ResponseInput, store: false })
      expect(prompt(server)).toBe(continued)
    }
  })
})

describe("tool_choice", () => {
  test("none offers no tools, and allowed_tools only the listed ones", async () => {
    await using server = await open("Hm.", {}, {}, wide)
    const { responses } = clientOf(server.url)
    const none = await responses.create({ ...ask, tools, tool_choice: "none" })
    expect(none).toMatchObject({ tool_choice: "none", tools })
    expect(prompt(server)).toBe("<user>hi;<assistant>")
    const tool_choice = {
      type: "allowed_tools" as const,
      mode: "auto" as const,
      tools: [{ type: "function", name: "g" }],
    }
    const some = await responses.create({ ...ask, tools, tool_choice })
    expect(some).toMatchObject({ tool_choice, tools })
    expect(prompt(server)).toContain("Does g.")
    expect(prompt(server)).not.toContain("Does f.")
  })
})
