/** Ollama's requests → conversations, or texts, that are ready to be answered. */

import type { LoadedModel } from "../../../engine/types.ts"
import type { Constraint } from "../../../grammar/constraint.ts"
import { type Chat, prepareChat } from "../../chat/chat.ts"
import { checkPrompt, makeChoices, type Run } from "../../chat/choices.ts"
import { completionPrompts } from "../../chat/prompt.ts"
import { samplingOf, stopStrings } from "../../chat/sampling.ts"
import { constraintOf } from "../../chat/structured.ts"
import { invalidRequest } from "../../http/errors.ts"
import { renamingFields } from "../../http/field-names.ts"
import type { ChatRequest } from "../openai/chat-schema.ts"
import { fieldNames, toChatRequest, toMessages } from "./request.ts"
import type { OllamaChatRequest, OllamaGenerateRequest, OllamaOptions } from "./schema.ts"

/** @throws ApiError 400 naming the field that cannot be served. */
export function prepareOllamaChat(model: LoadedModel, run: Run, body: OllamaChatRequest): Promise<Chat> {
  return renamingFields(fieldNames(body), async () => {
    const request = toChatRequest(model, body, toMessages(body.messages ?? []))
    return fitted(await prepareChat(model, run, request), body.options)
  })
}

/** The prompt is the model's as it stands: because the request says so, or there is no template to put it in. */
export const isRaw = ({ chatTemplate }: LoadedModel, { raw, suffix, system }: OllamaGenerateRequest): boolean =>
  !!raw || !!suffix || (chatTemplate === undefined && !system)

/** @throws ApiError 400 naming the field that cannot be served. */
export function prepareOllamaGenerate(model: LoadedModel, run: Run, body: OllamaGenerateRequest): Promise<Chat> {
  const { prompt, suffix, system, context, options } = body
  return renamingFields(fieldNames(body), async () => {
    if (isRaw(model, body)) {
      const request = toChatRequest(model, body, [])
      const [{ tokens } = { tokens: new Int32Array() }] = await completionPrompts(model, {
        prompt: prompt ?? "",
        suffix,
      })
      checkPrompt(model, tokens, "prompt")
      return fitted(textChat(model, run, request, tokens), options)
    }
    const messages = [
      ...(system ? [{ role: "system" as const, content: system }] : []),
      { role: "user" as const, content: prompt ?? "" },
    ]
    return fitted(await prepareChat(model, run, toChatRequest(model, body, messages)), options, context ?? [])
  })
}

/** A text to go on with, as a conversation of which that is the prompt. */
function textChat(model: LoadedModel, run: Run, body: ChatRequest, tokens: Int32Array): Chat {
  const logprobs = body.logprobs ? (body.top_logprobs ?? 0) : undefined
  const choices = makeChoices(model, [tokens], {
    id: run.id,
    n: 1,
    sampling: samplingOf(body, model.engine.limits, logprobs),
    maxTokens: body.max_completion_tokens ?? undefined,
    stop: stopStrings(body.stop),
    ignoreEos: false,
    constraint: constraintOf(body),
    standing: run.standing,
  })
  return { model, choices, controller: run.controller, reasoning: undefined }
}

/** The same with the tokens of an earlier conversation in front, and within `num_ctx`. @throws ApiError 400 where it does not fit. */
function fitted(chat: Chat, options: OllamaOptions, before: readonly number[] = []): Chat {
  const { model, choices } = chat
  const limit = contextOf(model, options?.num_ctx)
  const requests = choices.requests.map(({ first, request }) => {
    const promptTokens = joined(model, before, request.promptTokens)
    if (before.length > 0) checkPrompt(model, promptTokens, "context")
    const room = limit - promptTokens.length
    if (room <= 0)
      throw invalidRequest(
        `The prompt has ${promptTokens.length} tokens, and 'options.num_ctx' holds ${limit} with the answer; raise it, or shorten the prompt.`,
        "options.num_ctx",
        "context_length_exceeded",
      )
    const maxTokens = Math.min(request.maxTokens, room)
    return { first, request: { ...request, promptTokens, maxTokens, constraint: renamed(request.constraint) } }
  })
  return { ...chat, choices: { ...choices, requests } }
}

/** What the engine refuses of a format is called so here. */
const renamed = (constraint: Constraint | undefined): Constraint | undefined =>
  constraint?.param === "response_format" ? { ...constraint, param: "format" } : constraint

function joined({ tokenizer }: LoadedModel, before: readonly number[], tokens: Int32Array): Int32Array {
  if (before.length === 0) return tokens
  // The beginning of a text is at its beginning alone.
  const rest = tokens[0] === tokenizer.bosId ? tokens.subarray(1) : tokens
  return Int32Array.from([...before, ...rest])
}

/**
 * Tokens that a request may take. A model whose whole context is served takes any length for that, as Ollama does.
 * @throws ApiError 400 where more is asked for than the server was started with.
 */
export function contextOf({ engine, config, name }: LoadedModel, num_ctx: number | null | undefined): number {
  const { contextLength } = engine.limits
  if (num_ctx === undefined || num_ctx === null) return contextLength
  if (num_ctx > contextLength && contextLength < config.contextLength)
    throw invalidRequest(
      `'options.num_ctx': '${name}' is served with a context of ${contextLength} tokens; ask for as many or fewer, or start the server with --ctx-size ${num_ctx}.`,
      "options.num_ctx",
      "invalid_value",
    )
  return Math.min(num_ctx, contextLength)
}
