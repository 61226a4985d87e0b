/** Anthropic's API: `POST /v1/messages` and `POST /v1/messages/count_tokens`. */

import { Elysia } from "elysia"
import { chatEvents, prepareChat } from "../../chat/chat.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import type { Conversation } from "../../chat/request.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, leaseModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type JobOptions, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { applyEdits } from "./context-edits.ts"
import { anthropicError } from "./errors.ts"
import { foldMessage, MESSAGE_EVENTS, messageEvents } from "./events.ts"
import { toChatRequest, toConversation } from "./request.ts"
import {
  type CountTokensRequest,
  countTokensRequest,
  countTokensResponse,
  type MessagesRequest,
  messageError,
  messageEvent,
  messagesRequest,
  messagesResponse,
} from "./schema.ts"

export const messageRoutes = (state: ServerState) => {
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json" as const]
  const example = {
    model: exampleModel(state),
    system: "Answer in one sentence.",
    messages: [{ role: "user" as const, content: "Why is the sky blue?" }],
  }
  return new Elysia()
    .onError(answerErrors(anthropicError))
    .post(
      "/v1/messages",
      ({ body, request, server }) =>
        runJob(state, jobOptions(body), { request, server }, async (model, context) => {
          const { conversation, applied } = await applyEdits(model, toChatRequest(body), editsOf(body))
          const chat = await prepareChat(model, context, conversation)
          const head = {
            id: context.id,
            model: context.model,
            promptTokens: chat.choices.requests[0]?.request.promptTokens.length ?? 0,
            maxTokens: body.max_tokens,
            hidesThinking: body.thinking?.type !== "disabled" && body.thinking?.display === "omitted",
            edits: body.context_management ? applied : undefined,
          }
          const chunks = () => messageEvents(head, chatEvents(chat))
          return {
            controller: context.controller,
            format: MESSAGE_EVENTS,
            complete: () => foldMessage(chunks()),
            chunks,
          }
        }),
      {
        parse,
        body: requestBody(messagesRequest, { ...example, max_tokens: 64, temperature: 0 }),
        response: { 200: responseBody(messagesResponse) },
        detail: endpoint({
          tag: "Anthropic",
          summary: "Answer a conversation, in Anthropic's form",
          response: messagesResponse,
          event: messageEvent,
          errors: GENERATION_ERRORS,
          failure: messageError,
        }),
      },
    )
    .post(
      "/v1/messages/count_tokens",
      async ({ body, request }) => {
        using lease = await leaseModel(state, body.model, request.signal)
        const { model } = lease
        const asked = toConversation(body)
        const { conversation, applied } = await applyEdits(model, asked, editsOf(body))
        const count = async (of: Conversation) => (await encodeChat(model, renderChat(model, of))).length
        const input_tokens = await count(conversation)
        if (!body.context_management) return { input_tokens }
        const original_input_tokens = applied.length === 0 ? input_tokens : await count(asked)
        return { input_tokens, context_management: { original_input_tokens } }
      },
      {
        parse,
        body: requestBody(countTokensRequest, example),
        response: { 200: responseBody(countTokensResponse) },
        detail: endpoint({
          tag: "Anthropic",
          summary: "Count the tokens that a message's prompt would have",
          response: countTokensResponse,
          errors: GENERATION_ERRORS,
          failure: messageError,
        }),
      },
    )
}

const editsOf = ({ context_management: management }: CountTokensRequest) => management?.edits ?? []

const jobOptions = ({ model, stream }: MessagesRequest): JobOptions => ({
  idPrefix: "msg",
  model,
  stream: stream ?? false,
})
