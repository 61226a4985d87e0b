/** Chat completions at llama-server's own paths, and the number of a conversation's tokens. */

import { Elysia } from "elysia"
import { z } from "zod"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import { exampleModel, leaseModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors, invalidRequest } from "../../http/errors.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { chatRoutes } from "../openai/chat.ts"
import { type ChatBody, chatRequest } from "../openai/chat-schema.ts"
import { toConversation } from "../openai/request.ts"
import { readBody } from "./completion.ts"
import { llamaError, llamaErrorSchema } from "./errors.ts"
import { CHAT_DEFAULTS } from "./settings.ts"

const ofAssistant = (message: unknown): boolean =>
  typeof message === "object" && message !== null && "role" in message && message.role === "assistant"

/** The body with the text parts of each message joined as llama-server does: as lines, or at the beginning of the answer as paragraphs. */
function withLines(body: object): object {
  if (!("messages" in body) || !Array.isArray(body.messages)) return body
  const last = body.messages.length - 1
  const messages = body.messages.map((message: unknown, i) => {
    if (typeof message !== "object" || message === null || !("content" in message)) return message
    const { content } = message
    if (!Array.isArray(content) || !content.every(isText)) return message
    const gap = i === last && ofAssistant(message) ? "\n\n" : "\n"
    return { ...message, content: content.map(({ text }) => text).join(gap) }
  })
  return { ...body, messages }
}

const isText = (part: unknown): part is { text: string } =>
  typeof part === "object" &&
  part !== null &&
  "type" in part &&
  part.type === "text" &&
  "text" in part &&
  typeof part.text === "string"

/** Reads a body as llama-server does, with its defaults: an assistant's message at the end is the beginning of the answer. @throws ApiError 400 */
async function readChat(state: ServerState, request: Request): Promise<unknown> {
  const given = await readBody(state, request)
  if (typeof given !== "object" || given === null) return given
  const body = { ...CHAT_DEFAULTS, ...withLines(given) }
  const { messages, continue_final_message, add_generation_prompt } = body as Record<string, unknown>
  if (!Array.isArray(messages) || !ofAssistant(messages.at(-1)) || messages.at(-1).tool_calls) return body
  if (ofAssistant(messages.at(-2)))
    throw invalidRequest("'messages': the last two are the assistant's; join them.", "messages", "invalid_value")
  if (continue_final_message !== undefined || add_generation_prompt !== undefined) return body
  return { ...body, continue_final_message: true, add_generation_prompt: false }
}

const counted = z.object({ object: z.literal("response.input_tokens"), input_tokens: z.int() })

export function llamaChatRoutes(state: ServerState) {
  const count = async ({ body, request }: { body: ChatBody; request: Request }) => {
    using lease = await leaseModel(state, body.model, request.signal)
    const { model } = lease
    const tokens = await encodeChat(model, renderChat(model, toConversation(body)))
    return { object: "response.input_tokens" as const, input_tokens: tokens.length }
  }
  const route = {
    parse: [({ request }: { request: Request }) => readBody(state, request), "json" as const],
    body: requestBody(chatRequest, {
      model: exampleModel(state),
      messages: [{ role: "user", content: "Why is the sky blue?" }],
    }),
    response: { 200: responseBody(counted) },
    detail: endpoint({
      tag: "llama-server",
      summary: "Count the tokens of a conversation",
      response: counted,
      errors: GENERATION_ERRORS,
      failure: llamaErrorSchema,
    }),
  }
  return new Elysia()
    .onError(answerErrors(llamaError))
    .use(
      chatRoutes(state, {
        path: "/chat/completions",
        tag: "llama-server",
        shape: llamaError,
        failure: llamaErrorSchema,
        readBody: readChat,
        begin: null,
        run: { generator: "mersenne" },
      }),
    )
    .post("/chat/completions/input_tokens", count, route)
    .post("/v1/chat/completions/input_tokens", count, route)
}
