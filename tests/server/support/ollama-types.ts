/** Compile-time check: the types of the server's answers are those that Ollama's client declares. */

import type {
  ChatResponse,
  EmbeddingsResponse,
  EmbedResponse,
  GenerateResponse,
  ModelResponse,
  ShowResponse,
} from "ollama"
import type { z } from "zod"
import type {
  embeddingsResponse,
  embedResponse,
  psResponse,
  ShowResponse as ShowBody,
} from "../../../src/server/apis/ollama/models-schema.ts"
import type { OllamaChatResponse, OllamaGenerateResponse } from "../../../src/server/apis/ollama/schema.ts"

/** Differences from the client's types: times are strings in JSON, and its `Map` is an object. */
type Sent<T> = Omit<T, "created_at" | "modified_at" | "expires_at" | "model_info">

/** The last chunk of a stream has all fields. */
export const chat = (body: Required<OllamaChatResponse>): Sent<ChatResponse> => body
export const generate = (body: Required<OllamaGenerateResponse>): Sent<GenerateResponse> => body
export const running = (body: z.output<typeof psResponse>["models"][number]): Sent<ModelResponse> => body
export const show = (body: ShowBody): Omit<Sent<ShowResponse>, "messages"> => body
export const embed = (body: z.output<typeof embedResponse>): EmbedResponse => body
export const embedding = (body: z.output<typeof embeddingsResponse>): EmbeddingsResponse => body
