/** Request bodies → prompt tokens. */

import type { LoadedModel } from "../engine/load.ts"
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
 * @throws ApiError 400 when the model has no chat template, or its template refuses the conversation.
 */
export function chatPrompt(model: LoadedModel, messages: readonly ChatMessageBody[]): Int32Array {
  if (model.chatTemplate === undefined)
    throw invalidRequest(
      `The model '${model.name}' has no chat template, so it cannot answer conversations; use /v1/completions.`,
      "model",
      "no_chat_template",
    )
  const text = model.chatTemplate.render({ messages: messages.map(templateMessage) })
  return model.tokenizer.encode(text, { special: true })
}

/** A message as templates know it: one text, and no role newer than they are. */
function templateMessage({ role, content, name }: ChatMessageBody) {
  return {
    role: role === "developer" ? "system" : role,
    content: typeof content === "string" ? content : content.map((part) => part.text).join(""),
    ...(typeof name === "string" ? { name } : {}),
  }
}
