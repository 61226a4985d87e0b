/** Ollama's requests → answers that are ready to be generated. */

import type { LoadedModel } from "../../../engine/types.ts"
import { type Chat, prepareChat } from "../../chat/chat.ts"
import { checkPrompt, makeChoices, type RunContext } from "../../chat/choices.ts"
import { encodeText } from "../../chat/encode.ts"
import { completionPrompts } from "../../chat/prompt.ts"
import type { ChatRequest } from "../../chat/request.ts"
import { formConstraint } from "../../chat/structured.ts"
import { roomForAnswer, withLastCut, withoutOldest } from "../../chat/truncate.ts"
import { invalidRequest } from "../../http/errors.ts"
import { noteIgnored } from "../../http/lenient.ts"
import { fillTemplate } from "./prompt-template.ts"
import { toChatRequest, toMessages } from "./request.ts"
import type { OllamaChatRequest, OllamaGenerateRequest } from "./schema.ts"

/** @throws ApiError 400, RequestError */
export async function prepareOllamaChat(model: LoadedModel, run: RunContext, body: OllamaChatRequest): Promise<Chat> {
  const request = await fitted(model, body, toChatRequest(model, body, toMessages(body.messages ?? [])))
  return withinContext(await prepareChat(model, run, request), body.options?.num_ctx)
}

/** The request, shortened if its prompt does not fit: without its oldest turns, and if need be without the beginning of the last one. */
async function fitted(
  model: LoadedModel,
  { truncate, options }: OllamaChatRequest | OllamaGenerateRequest,
  request: ChatRequest,
): Promise<ChatRequest> {
  if (truncate === false || model.chatTemplate === undefined) return request
  const limit = contextOf(model, options?.num_ctx)
  return await withLastCut(model, await withoutOldest(model, request, limit), limit)
}

/** Whether the model gets the prompt without a chat template: because the request says so, or the model has none. */
export const isRaw = (
  { chatTemplate }: LoadedModel,
  { raw, suffix, system, template }: OllamaGenerateRequest,
): boolean => !!raw || !!suffix || !!template || (chatTemplate === undefined && !system)

/** Tokens at the beginning of a prompt that is cut which stay by default, as in Ollama. */
const NUM_KEEP = 4

/** @throws ApiError 400, RequestError */
export async function prepareOllamaGenerate(
  model: LoadedModel,
  run: RunContext,
  body: OllamaGenerateRequest,
): Promise<Chat> {
  const { prompt, suffix, system, context, options, template, truncate } = body
  if (isRaw(model, body)) {
    const text = template && !body.raw ? fillTemplate(template, { system: system ?? "", prompt: prompt ?? "" }) : prompt
    const request = toChatRequest(model, body, [])
    const limit = contextOf(model, options?.num_ctx)
    const most = truncate === false || suffix ? undefined : Math.max(1, limit - roomForAnswer(request, limit))
    const tokens =
      most === undefined ? await rawTokens(model, text, suffix) : await cutTokens(model, text, most, options)
    return withinContext(rawChat(model, run, request, tokens), options?.num_ctx)
  }
  const messages = [
    ...(system ? [{ role: "system" as const, content: system }] : []),
    { role: "user" as const, content: prompt ?? "" },
  ]
  const asked = toChatRequest(model, body, messages)
  const request = context?.length ? { ...asked, precedingTokens: context } : await fitted(model, body, asked)
  return withinContext(await prepareChat(model, run, request), options?.num_ctx)
}

async function rawTokens(model: LoadedModel, prompt: string | null | undefined, suffix?: string | null) {
  const [made] = await completionPrompts(model, { prompt: [prompt ?? ""], suffix: suffix ?? undefined })
  return made?.tokens ?? new Int32Array()
}

/** A prompt's tokens, at most `most`: the first `num_keep` of them, and the last. */
async function cutTokens(
  model: LoadedModel,
  prompt: string | null | undefined,
  most: number,
  options: OllamaGenerateRequest["options"],
): Promise<Int32Array> {
  const tokens = await encodeText(model, prompt ?? "", { special: true, addBos: model.tokenizer.addBos })
  if (tokens.length <= most) return tokens
  const asked = options?.num_keep ?? NUM_KEEP
  const kept = Math.min(asked < 0 ? most : asked + (model.tokenizer.addBos ? 1 : 0), most)
  return Int32Array.from([...tokens.subarray(0, kept), ...tokens.subarray(tokens.length - (most - kept))])
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

/** Most tokens of prompt and answer: a larger `num_ctx` than the context that the server was started with means that context. */
export function contextOf({ engine }: LoadedModel, numCtx: number | null | undefined): number {
  const { contextLength } = engine.limits
  if (numCtx && numCtx > contextLength) noteIgnored("options.num_ctx above the context")
  return Math.min(numCtx ?? contextLength, contextLength)
}
