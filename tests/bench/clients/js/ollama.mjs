/** Ollama's client. */

import { Ollama } from "ollama"
import { CHAT, CITY, CITY_ARGUMENT, CITY_SCHEMA, run, STORY, TEXTS, url, WEATHER, weather } from "./checks.mjs"

const client = new Ollama({ host: url })
/** Without a limit, a small model may go on to the end of its context. */
const options = { num_predict: 100, temperature: 0 }
const user = (content) => [{ role: "user", content }]

await run({
  chat: async (model) => (await client.chat({ model, messages: user(CHAT), options })).message.content,
  stream: async function* (model) {
    for await (const part of await client.chat({ model, messages: user(STORY), options, stream: true }))
      yield part.message.content
  },
  tools: async (model) => {
    const about = { description: "Returns the weather in a city.", parameters: CITY_ARGUMENT }
    const tools = [{ type: "function", function: { name: "get_weather", ...about } }]
    const { message } = await client.chat({ model, messages: user(WEATHER), tools })
    const results = message.tool_calls.map(({ function: called }) => ({
      role: "tool",
      tool_name: called.name,
      content: weather(called.arguments),
    }))
    return (await client.chat({ model, messages: [...user(WEATHER), message, ...results], tools })).message.content
  },
  structured: async (model) =>
    (await client.chat({ model, messages: user(CITY), format: CITY_SCHEMA })).message.content,
  embeddings: async (model) => (await client.embed({ model, input: TEXTS })).embeddings,
})
