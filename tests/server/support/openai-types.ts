/** Checked by the compiler alone: what the server says it answers is what the official client says it gets. */

import type OpenAI from "openai"
import type { ChatChunk, ChatResponse } from "../../../src/server/apis/openai/chat-schema.ts"
import type { CompletionResponse } from "../../../src/server/apis/openai/completions-schema.ts"
import type { ModelBody } from "../../../src/server/apis/openai/models-schema.ts"

export const chat = (body: ChatResponse): OpenAI.ChatCompletion => body
export const chunk = (body: ChatChunk): OpenAI.ChatCompletionChunk => body
/** A prompt's first token has no log-probability, which the client's types do not know. */
type Choice = Omit<OpenAI.CompletionChoice, "logprobs">
export const completion = (body: CompletionResponse): Omit<OpenAI.Completion, "choices"> & { choices: Choice[] } => body
export const model = (body: ModelBody): OpenAI.Model => body
