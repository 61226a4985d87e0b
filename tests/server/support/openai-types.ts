/** Compile-time check: the types of the server's answers are those that the official client declares. */

import type OpenAI from "openai"
import type { ChatChunk, ChatResponse } from "../../../src/server/apis/openai/chat-schema.ts"
import type { CompletionResponse } from "../../../src/server/apis/openai/completions-schema.ts"
import type { ModelBody } from "../../../src/server/apis/openai/models-schema.ts"

export const chat = (body: ChatResponse): OpenAI.ChatCompletion => body
/** Difference from the client's types: they lack the calls of custom tools in streams. */
type Deltas = Omit<ChatChunk["choices"][number]["delta"], "tool_calls">
type ChunkChoice = Omit<ChatChunk["choices"][number], "delta"> & { delta: Deltas }
export const chunk = (
  body: Omit<ChatChunk, "choices" | "usage"> & { choices: ChunkChoice[] },
): Omit<OpenAI.ChatCompletionChunk, "usage"> => body
/** Difference from the client's types: a prompt's first token has no log-probability. */
type Choice = Omit<OpenAI.CompletionChoice, "logprobs">
export const completion = (body: CompletionResponse): Omit<OpenAI.Completion, "choices"> & { choices: Choice[] } => body
export const model = (body: ModelBody): OpenAI.Model => body
