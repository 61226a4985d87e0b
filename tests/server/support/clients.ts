/** API clients for a server under test, except OpenAI's, which is in tests/support/http.ts. */

import Anthropic from "@anthropic-ai/sdk"
import { Ollama } from "ollama"

/** Anthropic's client, which does not retry. */
export const anthropicOf = (url: string): Anthropic => new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 })

export const ollamaOf = (url: string): Ollama => new Ollama({ host: url })
