/** Request bodies → prompt tokens. */

import type { LoadedModel } from "../engine/load.ts"
import { type ChatMessage, ChatTemplateError, encodePrompt } from "../text/index.ts"
import { invalidRequest } from "./errors.ts"
import type { ChatMessageBody } from "./schemas/chat.ts"
import type { CompletionRequest } from "./schemas/completions.ts"

/** A completion prompt: its tokens, and its text for `echo`. */
export interface Prompt {
  readonly tokens: Int32Array
  readonly text: () => string
}

/** Every prompt of the request; special tokens written in a text count as those tokens, since nothing else can place them here. */
export function completionPrompts({ tokenizer }: LoadedModel, prompt: CompletionRequest["prompt"]): Prompt[] {
  const isIds = (value: unknown[]): value is number[] => typeof value[0] === "number"
  const list: (string | number[])[] = typeof prompt === "string" ? [prompt] : isIds(prompt) ? [prompt] : prompt
  return list.map((item) =>
    typeof item === "string"
      ? { tokens: tokenizer.encode(item, { special: true, addBos: tokenizer.addBos }), text: () => item }
      : { tokens: Int32Array.from(item), text: () => tokenizer.decode(item, { special: true }) },
  )
}

/**
 * The conversation as the model's chat template writes it, ready for the assistant's turn.
 * @throws ApiError 400 when the model has no usable chat template, or its template refuses the conversation.
 */
export function chatPrompt(model: LoadedModel, messages: readonly ChatMessageBody[]): Int32Array {
  if (model.chatTemplate === undefined)
    throw invalidRequest(
      `The model '${model.name}' has no chat template, so it takes no conversations; use /v1/completions.`,
      "model",
      "chat_template_missing",
    )
  try {
    return encodePrompt(model.tokenizer, model.chatTemplate.render({ messages: messages.map(templateMessage) }))
  } catch (error) {
    if (!(error instanceof ChatTemplateError)) throw error
    const param = error.code === "missing" || error.code === "syntax" ? "model" : "messages"
    throw invalidRequest(`'${param}': ${error.message}.`, param, `chat_template_${error.code}`)
  }
}

/** A message as templates know it: `developer` is newer than they are, and means `system`. */
const templateMessage = ({ role, content, name }: ChatMessageBody): ChatMessage => ({
  role: role === "developer" ? "system" : role,
  content,
  name: name ?? undefined,
})
