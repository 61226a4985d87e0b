/** Anthropic's client. */

import Anthropic from "@anthropic-ai/sdk"
import { CHAT, CITY, CITY_ARGUMENT, CITY_SCHEMA, key, run, STORY, url, WEATHER, weather } from "./checks.mjs"

const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 })
const user = (content) => [{ role: "user", content }]
const ask = (model, messages, more) => client.messages.create({ model, max_tokens: 200, messages, ...more })
const textOf = ({ content }) => content.map((block) => block.text ?? "").join("")

await run({
  chat: async (model) => textOf(await ask(model, user(CHAT))),
  stream: async function* (model) {
    const stream = client.messages.stream({ model, max_tokens: 100, messages: user(STORY) })
    for await (const event of stream) if (event.type === "content_block_delta") yield event.delta.text
    await stream.finalMessage()
  },
  tools: async (model) => {
    const tools = [{ name: "get_weather", description: "Returns the weather in a city.", input_schema: CITY_ARGUMENT }]
    const answer = await ask(model, user(WEATHER), { tools })
    const results = answer.content
      .filter(({ type }) => type === "tool_use")
      .map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: weather(input) }))
    const messages = [
      ...user(WEATHER),
      { role: "assistant", content: answer.content },
      { role: "user", content: results },
    ]
    return textOf(await ask(model, messages, { tools }))
  },
  structured: async (model) => {
    const format = { type: "json_schema", schema: CITY_SCHEMA }
    return textOf(await ask(model, user(CITY), { output_config: { format } }))
  },
})
