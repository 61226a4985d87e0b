/** LangChain. PROVIDER is openai, openai-responses, ollama or anthropic. */

import { HumanMessage, ToolMessage } from "@langchain/core/messages"
import { tool } from "@langchain/core/tools"
import { z } from "zod"
import { CHAT, CITY, key, provider, run, STORY, TEXTS, url, WEATHER, weather } from "./checks.mjs"

async function open(model) {
  if (provider === "ollama") {
    const { ChatOllama } = await import("@langchain/ollama")
    return new ChatOllama({ baseUrl: url, model, maxRetries: 0, numPredict: 200 })
  }
  if (provider === "anthropic") {
    const { ChatAnthropic } = await import("@langchain/anthropic")
    return new ChatAnthropic({ anthropicApiUrl: url, apiKey: key, model, maxRetries: 0, maxTokens: 200 })
  }
  const { ChatOpenAI } = await import("@langchain/openai")
  const common = { configuration: { baseURL: `${url}/v1` }, apiKey: key, model, maxRetries: 0, maxTokens: 200 }
  return new ChatOpenAI({ ...common, useResponsesApi: provider === "openai-responses" })
}

const about = { description: "Returns the weather in a city.", schema: z.object({ city: z.string() }) }
const get_weather = tool(weather, { name: "get_weather", ...about })
const City = z.object({ name: z.string(), population: z.int(), capital: z.boolean() })

async function embedder(model) {
  if (provider === "ollama") {
    const { OllamaEmbeddings } = await import("@langchain/ollama")
    return new OllamaEmbeddings({ baseUrl: url, model })
  }
  const { OpenAIEmbeddings } = await import("@langchain/openai")
  return new OpenAIEmbeddings({ configuration: { baseURL: `${url}/v1` }, apiKey: key, model, maxRetries: 0 })
}

await run({
  chat: async (model) => (await (await open(model)).invoke(CHAT)).text,
  stream: async function* (model) {
    for await (const chunk of await (await open(model)).stream(STORY)) yield chunk.text
  },
  tools: async (model) => {
    const bound = (await open(model)).bindTools([get_weather])
    const messages = [new HumanMessage(WEATHER)]
    const answer = await bound.invoke(messages)
    messages.push(answer)
    for (const call of answer.tool_calls) {
      const content = await get_weather.invoke(call.args)
      messages.push(new ToolMessage({ content, tool_call_id: call.id }))
    }
    return (await bound.invoke(messages)).text
  },
  structured: async (model) => {
    // Anthropic's models are made to call a tool.
    const prompt = provider === "anthropic" ? CITY.replace("<<say ", "<<call City ") : CITY
    return await (await open(model)).withStructuredOutput(City, { name: "City" }).invoke(prompt)
  },
  ...(["openai", "ollama"].includes(provider) && {
    embeddings: async (model) => await (await embedder(model)).embedDocuments(TEXTS),
  }),
})
