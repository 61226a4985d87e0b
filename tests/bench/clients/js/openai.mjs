/** OpenAI's client. PROVIDER is chat or responses. */

import OpenAI from "openai"
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod"
import { z } from "zod"
import { CHAT, CITY, CITY_ARGUMENT, key, provider, run, STORY, TEXTS, url, WEATHER, weather } from "./checks.mjs"

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })
const City = z.object({ name: z.string(), population: z.int(), capital: z.boolean() })
const user = (content) => [{ role: "user", content }]

const chat = {
  chat: async (model) => {
    const answer = await client.chat.completions.create({ model, max_tokens: 100, messages: user(CHAT) })
    return answer.choices[0].message.content
  },
  stream: async function* (model) {
    const stream = client.chat.completions.stream({ model, max_tokens: 100, messages: user(STORY) })
    for await (const chunk of stream) yield chunk.choices[0]?.delta.content
    await stream.finalChatCompletion()
  },
  tools: async (model) => {
    const tool = {
      type: "function",
      function: { name: "get_weather", parameters: CITY_ARGUMENT, parse: JSON.parse, function: weather },
    }
    return await client.chat.completions.runTools({ model, messages: user(WEATHER), tools: [tool] }).finalContent()
  },
  structured: async (model) => {
    const response_format = zodResponseFormat(City, "city")
    const answer = await client.chat.completions.parse({
      model,
      max_tokens: 200,
      messages: user(CITY),
      response_format,
    })
    return answer.choices[0].message.parsed
  },
  embeddings: async (model) => {
    const { data } = await client.embeddings.create({ model, input: TEXTS })
    return data.map(({ embedding }) => embedding)
  },
}

const responses = {
  chat: async (model) => (await client.responses.create({ model, max_output_tokens: 100, input: CHAT })).output_text,
  stream: async function* (model) {
    for await (const event of client.responses.stream({ model, max_output_tokens: 100, input: STORY }))
      if (event.type === "response.output_text.delta") yield event.delta
  },
  tools: async (model) => {
    const tools = [{ type: "function", name: "get_weather", parameters: CITY_ARGUMENT, strict: false }]
    const first = await client.responses.create({ model, input: user(WEATHER), tools })
    const results = first.output
      .filter(({ type }) => type === "function_call")
      .map((call) => ({
        type: "function_call_output",
        call_id: call.call_id,
        output: weather(JSON.parse(call.arguments)),
      }))
    const more = { model, tools, previous_response_id: first.id, input: results }
    return (await client.responses.create(more)).output_text
  },
  structured: async (model) => {
    const text = { format: zodTextFormat(City, "city") }
    return (await client.responses.parse({ model, max_output_tokens: 200, input: CITY, text })).output_parsed
  },
}

await run(provider === "responses" ? responses : chat)
