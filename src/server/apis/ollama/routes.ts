/** Ollama's API: `POST /api/chat` and `/api/generate`. */

import { Elysia } from "elysia"
import type { LoadedModel } from "../../../engine/types.ts"
import type { Chat } from "../../chat/chat.ts"
import { exampleModel, leaseModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type Incoming, type JobContext, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import type { StreamFormat } from "../../http/stream.ts"
import {
  type AnswerHead,
  chatAnswer,
  generateAnswer,
  JSON_LINES_TYPE,
  jsonLines,
  nanoseconds,
  wholeChat,
  wholeText,
} from "./answer.ts"
import { FIELDS, ollamaError, PROMPT_FIELDS } from "./errors.ts"
import { applyKeepAlive, parseKeepAlive } from "./keep-alive.ts"
import { manageRoutes } from "./manage.ts"
import { ollamaModelRoutes } from "./models.ts"
import { isRaw, prepareOllamaChat, prepareOllamaGenerate } from "./prepare.ts"
import { readOllamaJson } from "./request.ts"
import {
  type OllamaChatRequest,
  type OllamaGenerateRequest,
  ollamaChatRequest,
  ollamaChatResponse,
  ollamaErrorSchema,
  ollamaGenerateRequest,
  ollamaGenerateResponse,
} from "./schema.ts"

export const ollamaRoutes = (state: ServerState) =>
  new Elysia().use(chatRoutes(state)).use(generateRoutes(state)).use(ollamaModelRoutes(state)).use(manageRoutes(state))

const docs = { tag: "Ollama", eventType: JSON_LINES_TYPE, errors: GENERATION_ERRORS, failure: ollamaErrorSchema }
const EXAMPLE_OPTIONS = { temperature: 0, num_predict: 64 }

const chatRoutes = (state: ServerState) =>
  new Elysia().onError(answerErrors(ollamaError(FIELDS))).post(
    "/api/chat",
    ({ body, request, server }) =>
      body.messages?.length
        ? answer(state, body, jsonLines(FIELDS), { request, server }, prepareOllamaChat, (head, chat) => {
            const pieces = () => chatAnswer(head, chat)
            return { pieces, whole: () => wholeChat(pieces()) }
          })
        : loadOrUnload(state, body, { request, server }, { message: { role: "assistant" as const, content: "" } }),
    {
      parse: [({ request }) => readOllamaJson(request, state.maxBodyBytes), "json"],
      body: requestBody(ollamaChatRequest, {
        model: exampleModel(state),
        messages: [{ role: "user", content: "Why is the sky blue?" }],
        options: EXAMPLE_OPTIONS,
      }),
      response: { 200: responseBody(ollamaChatResponse) },
      detail: endpoint({
        ...docs,
        summary: "Answer a conversation, in Ollama's form",
        response: ollamaChatResponse,
        event: ollamaChatResponse,
      }),
    },
  )

const generateRoutes = (state: ServerState) =>
  new Elysia().onError(answerErrors(ollamaError(PROMPT_FIELDS))).post(
    "/api/generate",
    ({ body, request, server }) =>
      body.prompt || body.suffix
        ? answer(
            state,
            body,
            jsonLines(PROMPT_FIELDS),
            { request, server },
            prepareOllamaGenerate,
            (head, chat, model) => {
              const pieces = () => generateAnswer(head, chat, !isRaw(model, body))
              return { pieces, whole: () => wholeText(pieces()) }
            },
          )
        : loadOrUnload(state, body, { request, server }, { response: "" }),
    {
      parse: [({ request }) => readOllamaJson(request, state.maxBodyBytes), "json"],
      body: requestBody(ollamaGenerateRequest, {
        model: exampleModel(state),
        prompt: "Why is the sky blue?",
        options: EXAMPLE_OPTIONS,
      }),
      response: { 200: responseBody(ollamaGenerateResponse) },
      detail: endpoint({
        ...docs,
        summary: "Answer a prompt, or continue a text, in Ollama's form",
        response: ollamaGenerateResponse,
        event: ollamaGenerateResponse,
      }),
    },
  )

/** The two ways to send an answer. */
interface AnswerWriter<T> {
  pieces(): AsyncGenerator<unknown>
  whole(): Promise<T>
}

function answer<Body extends OllamaChatRequest | OllamaGenerateRequest, T>(
  state: ServerState,
  body: Body,
  format: StreamFormat,
  incoming: Incoming,
  prepare: (model: LoadedModel, context: JobContext, body: Body) => Promise<Chat>,
  write: (head: AnswerHead, chat: Chat, model: LoadedModel) => AnswerWriter<T>,
): Promise<T> | Promise<Response> {
  const arrivedAt = performance.now()
  const managed = state.models.get(body.model)
  const options = { idPrefix: "ollama", model: managed.name, stream: body.stream ?? true }
  return runJob(state, options, incoming, async (model, context) => {
    const loadedAt = performance.now()
    const chat = await prepare(model, context, body)
    applyKeepAlive(state.models, managed, body.keep_alive)
    const { pieces, whole } = write({ model: body.model || managed.name, arrivedAt, loadedAt }, chat, model)
    return { controller: context.controller, format, complete: whole, chunks: pieces }
  })
}

/** Answers a request without a prompt: loads the model, or unloads it for a `keep_alive` of 0. @param rest The empty answer. */
async function loadOrUnload<Rest extends object>(
  state: ServerState,
  { model, keep_alive }: OllamaChatRequest | OllamaGenerateRequest,
  { request, server }: Incoming,
  rest: Rest,
) {
  server?.timeout(request, 0)
  const arrivedAt = performance.now()
  const managed = state.models.get(model)
  const unload = keep_alive !== undefined && keep_alive !== null && parseKeepAlive(keep_alive) === 0
  if (!unload) {
    using _ = await leaseModel(state, managed.name, request.signal)
    applyKeepAlive(state.models, managed, keep_alive)
  } else applyKeepAlive(state.models, managed, keep_alive)
  return {
    model: model || managed.name,
    created_at: new Date().toISOString(),
    done: true,
    done_reason: unload ? ("unload" as const) : ("load" as const),
    total_duration: nanoseconds(performance.now() - arrivedAt),
    ...rest,
  }
}
