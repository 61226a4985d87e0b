/** Vercel's AI SDK through its provider for OpenAI-compatible servers, as in an app that changes only the base URL. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { APICallError, generateText, isStepCount, Output, streamText, tool } from "ai"
import { z } from "zod"
import { resolveModel } from "../../src/store/resolve.ts"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { serveFile, type TestServer } from "../support/http.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

const provider = (url: string) =>
  createOpenAICompatible({
    name: "rocmforge",
    baseURL: `${url}/v1`,
    apiKey: "none",
    includeUsage: true,
    supportsStructuredOutputs: true,
  })

describe("with SmolLM2", () => {
  let server: TestServer
  beforeAll(async () => {
    server = await serveFile(await resolveModel("smollm2-135m"), { ctxSize: 2048 })
  })
  afterAll(() => server[Symbol.asyncDispose]())
  const ask = () => ({
    model: provider(server.url)(server.model.name),
    system: "Answer in one sentence.",
    prompt: "What is the capital of France?",
    temperature: 0,
    maxOutputTokens: 32,
    maxRetries: 0,
  })

  test("chats, with the same text plain and streamed", async () => {
    const { text, finishReason, usage } = await generateText(ask())
    expect(text).toContain("Paris")
    expect(finishReason).toBe("stop")
    expect(usage.inputTokens).toBeGreaterThan(20)
    expect(usage.outputTokens).toBeGreaterThan(3)

    const stream = streamText(ask())
    const parts: string[] = []
    for await (const part of stream.textStream) parts.push(part)
    expect(parts.length).toBeGreaterThan(3)
    expect(parts.join("")).toBe(text)
    expect(await stream.finishReason).toBe("stop")
    expect(await stream.usage).toMatchObject({ inputTokens: usage.inputTokens, outputTokens: usage.outputTokens })
  })

  test("calls a required tool, with valid input", async () => {
    const inputSchema = z.object({ city: z.string().max(30), days: z.int().min(1).max(7) })
    const options = {
      ...ask(),
      tools: { weather: tool({ description: "Tells the weather.", inputSchema }) },
      toolChoice: "required",
      temperature: 1.5,
      seed: 4,
      maxOutputTokens: 200,
      providerOptions: { rocmforge: { parallel_tool_calls: false } },
    } as const
    const { toolCalls, finishReason } = await generateText(options)
    expect(finishReason).toBe("tool-calls")
    expect(toolCalls.map(({ toolName }) => toolName)).toEqual(["weather"])
    expect(inputSchema.safeParse(toolCalls[0]?.input).success).toBe(true)
    const streamed = await streamText(options).toolCalls
    expect(streamed.map(({ input }) => input)).toEqual(toolCalls.map(({ input }) => input))
  })

  test("generates objects of a schema, plain and streamed", async () => {
    const schema = z.object({
      name: z.string().max(20),
      kind: z.enum(["cat", "dog"]),
      legs: z.int().min(0).max(4),
      tags: z.array(z.string().max(10)).max(2),
    })
    const options = {
      ...ask(),
      output: Output.object({ schema }),
      prompt: "Invent a pet.",
      temperature: 1.5,
      seed: 2,
      maxOutputTokens: 300,
    } as const
    const { output, text } = await generateText(options)
    expect(schema.safeParse(output).success).toBe(true)
    expect(JSON.parse(text)).toEqual(output)
    const stream = streamText(options)
    const partial: unknown[] = []
    for await (const part of stream.partialOutputStream) partial.push(part)
    expect(partial.length).toBeGreaterThan(3)
    expect(partial.at(-1)).toEqual(output)
    expect(await stream.output).toEqual(output)
  })

  test("throws its own error classes", async () => {
    const error = await generateText({ ...ask(), temperature: -1 }).catch((thrown) => thrown)
    expect(error).toBeInstanceOf(APICallError)
    expect(error).toMatchObject({ statusCode: 400, isRetryable: false })
    expect(error.message).toContain("'temperature'")
  })
})

describe("tools", () => {
  const TEMPLATE = new ChatTemplate(
    "{% if tools %}{{ tools | tojson }}{% endif %}{# <tool_call> #}{% for m in messages %}<{{ m.role }}>{{ m.content }}" +
      "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %};{% endfor %}",
  )
  const call = (city: string) =>
    `<tool_call>\n{"name": "weather", "arguments": {"city": ${JSON.stringify(city)}}}\n</tool_call>`
  const answers = [`Let me look.\n${call("Paris")}\n${call("Zürich")}`, "Sun, and snow."]

  /** A server that returns these answers in turn. */
  async function serve() {
    const left = answers.map(saying)
    const script = {
      get tokens() {
        return left.shift() ?? []
      },
    }
    const server = await serveScript(script, {}, { contextLength: 4096 }, { chatTemplate: TEMPLATE })
    const asked: string[] = []
    const options = {
      model: provider(server.url)("script"),
      prompt: "How is the weather?",
      maxOutputTokens: 300,
      maxRetries: 0,
      stopWhen: isStepCount(3),
      tools: {
        weather: tool({
          description: "Tells the weather.",
          inputSchema: z.object({ city: z.string() }),
          execute: async ({ city }) => {
            asked.push(city)
            return city === "Paris" ? "sun" : "snow"
          },
        }),
      },
    }
    const prompt = () => byteTokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true })
    return { options, asked, prompt, [Symbol.asyncDispose]: server[Symbol.asyncDispose] }
  }

  const expectLoop = (asked: string[], prompt: string) => {
    expect(asked).toEqual(["Paris", "Zürich"])
    expect(prompt).toContain('"description": "Tells the weather."')
    expect(prompt).toEndWith(
      '<user>How is the weather?;<assistant>Let me look.{"name": "weather", "arguments": {"city": "Paris"}}' +
        '{"name": "weather", "arguments": {"city": "Zürich"}};<tool>sun;<tool>snow;',
    )
  }

  test("are called, and their results are used in the answer", async () => {
    await using server = await serve()
    const { steps, text, finishReason } = await generateText(server.options)
    expect(steps.map((step) => step.finishReason)).toEqual(["tool-calls", "stop"])
    expect(steps[0]?.text).toBe("Let me look.")
    expect(steps[0]?.toolCalls.map(({ input }) => input)).toEqual([{ city: "Paris" }, { city: "Zürich" }])
    expect(text).toBe("Sun, and snow.")
    expect(finishReason).toBe("stop")
    expectLoop(server.asked, server.prompt())
  })

  test("are called from a stream, with input in pieces", async () => {
    await using server = await serve()
    const stream = streamText(server.options)
    const inputs = new Map<string, string[]>()
    for await (const part of stream.fullStream)
      if (part.type === "tool-input-delta") inputs.set(part.id, [...(inputs.get(part.id) ?? []), part.delta])
    expect([...inputs.values()].map((pieces) => pieces.join(""))).toEqual(['{"city": "Paris"}', '{"city": "Zürich"}'])
    for (const pieces of inputs.values()) expect(pieces.length).toBeGreaterThan(10)
    expect(await stream.text).toBe("Sun, and snow.")
    expectLoop(server.asked, server.prompt())
  })
})
