/** Ollama's requests → answers that are ready to be generated. */

import type { LoadedModel } from "../../../engine/types.ts"
import { type Chat, prepareChat } from "../../chat/chat.ts"
import { checkPrompt, makeChoices, type RunContext } from "../../chat/choices.ts"
import { completionPrompts } from "../../chat/prompt.ts"
import type { ChatRequest } from "../../chat/request.ts"
import { formConstraint } from "../../chat/structured.ts"
import { invalidRequest } from "../../http/errors.ts"
import { toChatRequest, toMessages } from "./request.ts"
import type { OllamaChatRequest, OllamaGenerateRequest } from "./schema.ts"

/** @throws ApiError 400, RequestError */
export async function prepareOllamaChat(model: LoadedModel, run: RunContext, body: OllamaChatRequest): Promise<Chat> {
  const request = toChatRequest(model, body, toMessages(body.messages ?? []))
  return withinContext(await prepareChat(model, run, request), body.options?.num_ctx)
}

/** Whether the model gets the prompt without a chat template: because the request says so, or the model has none. */
export const isRaw = ({ chatTemplate }: LoadedModel, { raw, suffix, system }: OllamaGenerateRequest): boolean =>
  !!raw || !!suffix || (chatTemplate === undefined && !system)

/** @throws ApiError 400, RequestError */
export async function prepareOllamaGenerate(
  model: LoadedModel,
  run: RunContext,
  body: OllamaGenerateRequest,
): Promise<Chat> {
  const { prompt, suffix, system, context, options } = body
  if (isRaw(model, body)) {
    const prompts = await completionPrompts(model, { prompt: [prompt ?? ""], suffix: suffix ?? undefined })
    const chat = rawChat(model, run, toChatRequest(model, body, []), prompts[0]?.tokens ?? new Int32Array())
    return withinContext(chat, options?.num_ctx)
  }
  const messages = [
    ...(system ? [{ role: "system" as const, content: system }] : []),
    { role: "user" as const, content: prompt ?? "" },
  ]
  const request = { ...toChatRequest(model, body, messages), precedingTokens: context ?? [] }
  return withinContext(await prepareChat(model, run, request), options?.num_ctx)
}

/** Wraps a raw prompt as a `Chat`, so that its answer is written like any other. */
function rawChat(model: LoadedModel, run: RunContext, request: ChatRequest, tokens: Int32Array): Chat {
  checkPrompt(model, tokens, "prompt")
  const choices = makeChoices(model, [tokens], request, run, { constraint: formConstraint(request) })
  return { model, choices, controller: run.controller, reasoning: undefined }
}

/** The same chat, held to `num_ctx` tokens of prompt and answer. @throws ApiError 400 when they leave no room for an answer. */
function withinContext(chat: Chat, numCtx: number | null | undefined): Chat {
  const { model, choices } = chat
  const limit = contextOf(model, numCtx)
  const requests = choices.requests.map(({ first, request }) => {
    const room = limit - request.promptTokens.length
    if (room <= 0)
      throw invalidRequest(
        `The prompt has ${request.promptTokens.length} tokens, and 'options.num_ctx' holds ${limit} with the answer; raise it, or shorten the prompt.`,
        "options.num_ctx",
        "context_length_exceeded",
      )
    return { first, request: { ...request, maxTokens: Math.min(request.maxTokens, room) } }
  })
  return { ...chat, choices: { ...choices, requests } }
}

/**
 * Most tokens of prompt and answer. When the model is served with its whole context, a larger `num_ctx` means that context, as in Ollama.
 * @throws ApiError 400 for more tokens than a shorter context, which the server was started with, holds.
 */
export function contextOf({ engine, config, name }: LoadedModel, numCtx: number | null | undefined): number {
  const { contextLength } = engine.limits
  if (numCtx === undefined || numCtx === null) return contextLength
  if (numCtx > contextLength && contextLength < config.contextLength)
    throw invalidRequest(
      `'options.num_ctx': '${name}' is served with a context of ${contextLength} tokens; ask for as many or fewer, or start the server with --ctx-size ${numCtx}.`,
      "options.num_ctx",
      "invalid_value",
    )
  return Math.min(numCtx, contextLength)
}
