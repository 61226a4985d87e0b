/** Vercel's AI SDK. PROVIDER is openai-compatible, openai (responses), openai-chat or anthropic. */

import { createAnthropic } from "@ai-sdk/anthropic"
import { createOpenAI } from "@ai-sdk/openai"
import { createOpenAICompatible } from "@ai-sdk/openai-compatible"
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai"
import { z } from "zod"
import { CHAT, CITY, key, provider, run, STORY, TEXTS, url, WEATHER, weather } from "./checks.mjs"

globalThis.AI_SDK_LOG_WARNINGS = false
const baseURL = `${url}/v1`
const openai = createOpenAI({ baseURL, apiKey: key })
const compatible = createOpenAICompatible({ name: "forge", baseURL, apiKey: key, supportsStructuredOutputs: true })
const open = {
  "openai-compatible": compatible,
  openai,
  "openai-chat": openai.chat,
  anthropic: createAnthropic({ baseURL, apiKey: key }),
}[provider]
const settings = (model) => ({ model: open(model), maxRetries: 0, maxOutputTokens: 200 })
const get_weather = tool({
  description: "Returns the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: weather,
})
const embedder = { "openai-compatible": compatible, openai }[provider]

await run({
  chat: async (model) => (await generateText({ ...settings(model), prompt: CHAT })).text,
  stream: async function* (model) {
    yield* streamText({ ...settings(model), prompt: STORY, onError: ({ error }) => Promise.reject(error) }).textStream
  },
  tools: async (model) => {
    const task = { ...settings(model), prompt: WEATHER, tools: { get_weather }, stopWhen: stepCountIs(3) }
    return (await generateText(task)).text
  },
  structured: async (model) => {
    const schema = z.object({ name: z.string(), population: z.int(), capital: z.boolean() })
    // For Anthropic's models whose names it does not know, the SDK asks for a call of a tool named json.
    const prompt = provider === "anthropic" ? CITY.replace("<<say ", "<<call json ") : CITY
    return (await generateText({ ...settings(model), prompt, output: Output.object({ schema }) })).output
  },
  ...(embedder !== undefined && {
    embeddings: async (model) =>
      (await embedMany({ model: embedder.textEmbeddingModel(model), maxRetries: 0, values: TEXTS })).embeddings,
  }),
})
