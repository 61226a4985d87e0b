/** Reasoning models, and continued assistant messages, with the official client. */

import { describe, expect, test } from "bun:test"
import type OpenAI from "openai"
import { ChatTemplate } from "../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../src/text/tokenizer/tokenizer.ts"
import type { Script } from "./support/script-engine.ts"
import { byteTokenizer, saying, serveScript } from "./support/script-model.ts"

/** A template like Qwen's: it omits earlier thoughts, and `enable_thinking` decides how the answer begins. */
const SWITCHED = new ChatTemplate(
  "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %};{% endfor %}" +
    "{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
/** A template like DeepSeek's: the answer always begins with thoughts. */
const ALWAYS = new ChatTemplate(
  "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }};{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}",
)
const messages = [{ role: "user" as const, content: "2+2?" }]
const request = { model: "script", messages, max_tokens: 200 }

interface Thought {
  content?: string | null
  reasoning_content?: string
  reasoning?: string
}

const serve = async (script: Script, chatTemplate: ChatTemplate, tokenizer = byteTokenizer) => {
  const server = await serveScript(script, {}, { nVocab: tokenizer.vocabSize }, { chatTemplate, tokenizer })
  return Object.assign(server, {
    /** The prompt of the last request, as text. */
    prompt: () => tokenizer.decode(server.engine.requests.at(-1)?.tokens ?? [], { special: true }),
  })
}

async function streamed(client: OpenAI, fields: object) {
  const stream = await client.chat.completions.create({
    ...request,
    ...fields,
    stream: true,
  } as OpenAI.ChatCompletionCreateParamsStreaming)
  const sum = { content: "", reasoning_content: "", reasoning: "" }
  const order: string[] = []
  for await (const { choices } of stream) {
    const delta = choices[0]?.delta as Thought | undefined
    for (const key of ["content", "reasoning_content", "reasoning"] as const) {
      if (!delta?.[key]) continue
      sum[key] += delta[key]
      if (order.at(-1) !== key && key !== "reasoning") order.push(key)
    }
  }
  return { ...sum, order }
}

describe("a model that thinks", () => {
  const answer = "<think>\nTwo and two.\n</think>\n\nIt is 4."

  test("returns reasoning and content separately, plain and streamed", async () => {
    await using server = await serve({ tokens: saying(answer) }, SWITCHED)
    const { choices, usage } = await server.client.chat.completions.create(request)
    expect(choices[0]?.message as object).toEqual({
      role: "assistant",
      content: "It is 4.",
      reasoning_content: "Two and two.",
      reasoning: "Two and two.",
      refusal: null,
    })
    expect(usage?.completion_tokens).toBe(answer.length + 1)
    // Counted from the end of the opening mark to the end of the closing mark.
    expect(usage?.completion_tokens_details?.reasoning_tokens).toBe("\nTwo and two.\n</think>".length)
    expect(await streamed(server.client, {})).toEqual({
      content: "It is 4.",
      reasoning_content: "Two and two.",
      reasoning: "Two and two.",
      order: ["reasoning_content", "content"],
    })
  })

  test("may have its thoughts opened by the prompt", async () => {
    await using server = await serve({ tokens: saying("Hm.\n</think>\n\n4") }, ALWAYS)
    const { choices } = await server.client.chat.completions.create(request)
    expect(choices[0]?.message as object).toMatchObject({ content: "4", reasoning_content: "Hm." })
    expect(server.prompt()).toEndWith("<assistant><think>\n")
  })

  test("returns only reasoning when max_tokens cuts it off", async () => {
    await using server = await serve({ tokens: saying(answer) }, SWITCHED)
    const { choices } = await server.client.chat.completions.create({ ...request, max_tokens: 20 })
    expect(choices[0]?.finish_reason).toBe("length")
    expect(choices[0]?.message as object).toMatchObject({ content: "", reasoning: "Two and two." })
  })

  test("returns log-probabilities of every token, including the marks", async () => {
    await using server = await serve({ tokens: saying(answer) }, SWITCHED)
    const scored = { ...request, logprobs: true }
    const plain = await server.client.chat.completions.create(scored)
    expect(plain.choices[0]?.logprobs?.content?.map(({ token }) => token).join("")).toBe(answer)
    let text = ""
    const stream = await server.client.chat.completions.create({ ...scored, stream: true })
    for await (const { choices } of stream) for (const { token } of choices[0]?.logprobs?.content ?? []) text += token
    expect(text).toBe(answer)
  })

  test("may use control tokens as marks", async () => {
    const tokens = [...BYTE_TO_CHAR, "<think>", "<|im_end|>", "</think>"]
    const metadata = new Map<string, unknown>([
      ["tokenizer.ggml.model", "gpt2"],
      ["tokenizer.ggml.pre", "gpt-2"],
      ["tokenizer.ggml.tokens", tokens],
      ["tokenizer.ggml.token_type", [...BYTE_TO_CHAR.map(() => 1), 3, 3, 3]],
      ["tokenizer.ggml.merges", []],
      ["tokenizer.ggml.eos_token_id", 257],
    ])
    const tokenizer = tokenizerFromMetadata((key) => metadata.get(key))
    const script = { tokens: [256, ...Buffer.from("a</"), 258, ...saying("b")] }
    await using server = await serve(script, SWITCHED, tokenizer)
    const { choices } = await server.client.chat.completions.create(request)
    expect(choices[0]?.message as object).toMatchObject({ content: "b", reasoning_content: "a</" })
  })
})

test("a model that does not think keeps the marks in its text", async () => {
  const answer = "<think>x</think>y"
  await using server = await serve({ tokens: saying(answer) }, new ChatTemplate("{{ messages[0].content }}"))
  const { choices, usage } = await server.client.chat.completions.create(request)
  expect(choices[0]?.message as object).toEqual({ role: "assistant", content: answer, refusal: null })
  expect(usage?.completion_tokens_details).toBeUndefined()
})

describe("the template's switches", () => {
  const create = (client: OpenAI, fields: object) =>
    client.chat.completions.create({ ...request, ...fields } as OpenAI.ChatCompletionCreateParamsNonStreaming)
  const refusal = (client: OpenAI, fields: object) => create(client, fields).catch((thrown) => thrown)

  test("thinking turned off, by chat_template_kwargs or by reasoning_effort", async () => {
    await using server = await serve({ tokens: saying("4") }, SWITCHED)
    for (const off of [{ chat_template_kwargs: { enable_thinking: false } }, { reasoning_effort: "none" }]) {
      const { choices } = await create(server.client, off)
      expect(choices[0]?.message as object).toMatchObject({ content: "4", reasoning_content: "" })
      expect(server.prompt()).toEndWith("<assistant><think>\n\n</think>\n\n")
    }
    await create(server.client, { reasoning_effort: "high" })
    expect(server.prompt()).toEndWith("<assistant>")
  })

  test("a switch that the template does not have is ignored, and a variable of the server is refused", async () => {
    await using server = await serve({ tokens: saying("4") }, ALWAYS)
    const plain = await create(server.client, {})
    const prompt = server.prompt()
    for (const fields of [
      { reasoning_effort: "low" },
      { enable_thinking: false },
      { chat_template_kwargs: { enable_thinking: false, colour: "red" } },
    ]) {
      expect((await create(server.client, fields)).choices).toEqual(plain.choices)
      expect(server.prompt()).toBe(prompt)
    }
    expect(await refusal(server.client, { chat_template_kwargs: { messages: [] } })).toMatchObject({
      param: "chat_template_kwargs.messages",
      code: "invalid_value",
    })
  })

  test("turning thinking off is accepted for a model without thinking", async () => {
    await using server = await serve({ tokens: saying("4") }, new ChatTemplate("{{ messages[0].content }}"))
    await create(server.client, { chat_template_kwargs: { enable_thinking: false }, reasoning_effort: "none" })
    expect(server.prompt()).toBe("2+2?")
  })
})

describe("messages", () => {
  test("of all roles, with parts, names, calls and thoughts, are passed to the template", async () => {
    const template = "{% for m in messages %}{{ m | tojson }}\n{% endfor %}{# tools, tool_calls, <tool_call> #}"
    await using server = await serve({ tokens: saying("ok") }, new ChatTemplate(template))
    const call = { id: "c1", type: "function" as const, function: { name: "add", arguments: '{"a":1}' } }
    await server.client.chat.completions.create({
      ...request,
      messages: [
        { role: "developer", content: "Be brief." },
        {
          role: "user",
          name: "Ada",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
        },
        { role: "assistant", content: null, tool_calls: [call] },
        { role: "tool", tool_call_id: "c1", content: "3" },
        { role: "assistant", content: "x", reasoning_content: "y" } as OpenAI.ChatCompletionMessageParam,
      ],
    })
    const seen = server
      .prompt()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
    expect(seen).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", name: "Ada", content: "ab" },
      { role: "assistant", content: "", tool_calls: [{ ...call, function: { name: "add", arguments: { a: 1 } } }] },
      { role: "tool", tool_call_id: "c1", content: "3" },
      { role: "assistant", content: "x", reasoning_content: "y" },
    ])
  })

  test("continue_final_message continues the last message", async () => {
    await using server = await serve({ tokens: saying("c") }, SWITCHED)
    const begun = [...messages, { role: "assistant" as const, content: "a b " }]
    const ask = (fields: object) =>
      server.client.chat.completions.create({ ...request, messages: begun, ...fields } as typeof request)
    const { choices } = await ask({ continue_final_message: true, add_generation_prompt: false })
    expect(choices[0]?.message as object).toEqual({ role: "assistant", content: "c", refusal: null })
    expect(server.prompt()).toBe("<user>2+2?;<assistant>a b ")
    await ask({})
    expect(server.prompt()).toBe("<user>2+2?;<assistant>a b ;<assistant>")
    await ask({ add_generation_prompt: false })
    expect(server.prompt()).toBe("<user>2+2?;<assistant>a b ;")
  })

  test("an unfinished thought can be continued", async () => {
    await using server = await serve(
      { tokens: saying("see</think>4") },
      new ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}{# </think> #}"),
    )
    const begun = [...messages, { role: "assistant" as const, content: "<think>Let me " }]
    const { choices } = await server.client.chat.completions.create({
      ...request,
      messages: begun,
      continue_final_message: true,
    } as OpenAI.ChatCompletionCreateParamsNonStreaming)
    expect(choices[0]?.message as object).toMatchObject({ content: "4", reasoning_content: "see" })
  })

  test.each([
    [{ messages: [{ role: "user", content: "x", function_call: { name: "f" } }] }, "messages[0].function_call"],
    [{ messages: [{ role: "assistant", tool_calls: [{ type: "custom", id: "a" }] }] }, "messages[0].tool_calls[0]"],
    [{ messages: [{ role: "user", content: null }] }, "messages[0].content"],
    [{ messages: [{ role: "oracle", content: "x" }] }, "messages[0].role"],
    [
      { messages: [{ role: "user", content: [{ type: "input_audio", input_audio: {} }] }] },
      "messages[0].content[0].type",
    ],
    [{ continue_final_message: true }, "continue_final_message"],
    [
      { messages: [{ role: "assistant", content: "x" }], continue_final_message: true, add_generation_prompt: true },
      "continue_final_message",
    ],
  ])("%j is refused: %s", async (fields, param) => {
    await using server = await serve({ tokens: saying("x") }, SWITCHED)
    const error = await server.client.chat.completions
      .create({ ...request, ...fields } as typeof request)
      .catch((e) => e)
    expect(error).toMatchObject({ status: 400, param })
  })
})
