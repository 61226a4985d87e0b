/** Ollama's API: `POST /api/chat` and `/api/generate`, and a plain answer to what would change the models. */

import type { Server } from "bun"
import { Elysia } from "elysia"
import type { LoadedModel } from "../../../engine/types.ts"
import type { Chat } from "../../chat/chat.ts"
import { exampleModel, leaseModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { ApiError } from "../../http/errors.ts"
import { type Head, runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { type AnswerHead, chatAnswer, generateAnswer, JSON_LINES, wholeChat, wholeText } from "./answer.ts"
import { readOllamaJson } from "./body.ts"
import { applyKeepAlive, parseKeepAlive } from "./keep-alive.ts"
import { ollamaModelRoutes } from "./models.ts"
import { findModel } from "./names.ts"
import { isRaw, prepareOllamaChat, prepareOllamaGenerate } from "./prepare.ts"
import {
  type OllamaChatRequest,
  type OllamaGenerateRequest,
  ollamaChatRequest,
  ollamaChatResponse,
  ollamaError,
  ollamaGenerateRequest,
  ollamaGenerateResponse,
} from "./schema.ts"

export const ollamaRoutes = (state: ServerState) => {
  const parse = [({ request }: { request: Request }) => readOllamaJson(request, state.maxBodyBytes), "json" as const]
  const model = exampleModel(state)
  const doc = { tag: "Ollama", eventType: JSON_LINES.contentType, errors: GENERATION_ERRORS, failure: ollamaError }
  const options = { temperature: 0, num_predict: 64 }
  return new Elysia()
    .post(
      "/api/chat",
      ({ body, request, server }) =>
        body.messages?.length
          ? answer(state, body, { request, server }, prepareOllamaChat, (head, chat) => {
              const pieces = () => chatAnswer(head, chat)
              return { pieces, whole: () => wholeChat(pieces()) }
            })
          : settle(state, body, { request, server }, { message: { role: "assistant" as const, content: "" } }),
      {
        parse,
        body: requestBody(ollamaChatRequest, {
          model,
          messages: [{ role: "user", content: "Why is the sky blue?" }],
          options,
        }),
        response: { 200: responseBody(ollamaChatResponse) },
        detail: endpoint({
          ...doc,
          summary: "Answer a conversation, in Ollama's form",
          response: ollamaChatResponse,
          event: ollamaChatResponse,
        }),
      },
    )
    .post(
      "/api/generate",
      ({ body, request, server }) =>
        body.prompt || body.suffix
          ? answer(state, body, { request, server }, prepareOllamaGenerate, (head, chat, model) => {
              const pieces = () => generateAnswer(head, chat, !isRaw(model, body))
              return { pieces, whole: () => wholeText(pieces()) }
            })
          : settle(state, body, { request, server }, { response: "" }),
      {
        parse,
        body: requestBody(ollamaGenerateRequest, { model, prompt: "Why is the sky blue?", options }),
        response: { 200: responseBody(ollamaGenerateResponse) },
        detail: endpoint({
          ...doc,
          summary: "Answer a prompt, or go on with a text, in Ollama's form",
          response: ollamaGenerateResponse,
          event: ollamaGenerateResponse,
        }),
      },
    )
    .use(ollamaModelRoutes(state))
    .use(refusals)
}

interface Begun {
  request: Request
  server: Server<unknown> | null
}

/** Both ways to send what a request is answered. */
interface Sent<T> {
  pieces(): AsyncGenerator<unknown>
  whole(): Promise<T>
}

function answer<Body extends OllamaChatRequest | OllamaGenerateRequest, T>(
  state: ServerState,
  body: Body,
  begun: Begun,
  prepare: (model: LoadedModel, head: Head, body: Body) => Promise<Chat>,
  send: (head: AnswerHead, chat: Chat, model: LoadedModel) => Sent<T>,
): Promise<T> | Promise<Response> {
  const came = performance.now()
  const managed = findModel(state.models, body.model)
  const common = { model: managed.name, stream: body.stream ?? true }
  return runJob(state, "ollama", common, begun, async (model, head) => {
    const loaded = performance.now()
    const chat = await prepare(model, head, body)
    applyKeepAlive(state.models, managed, body.keep_alive)
    const { pieces, whole } = send({ model: body.model, came, loaded }, chat, model)
    return { controller: head.controller, format: JSON_LINES, complete: whole, chunks: pieces }
  })
}

/** Nothing is to be said: the model is brought into memory, or with a `keep_alive` of 0 let go. */
async function settle<Said extends object>(
  state: ServerState,
  { model, keep_alive }: OllamaChatRequest | OllamaGenerateRequest,
  { request, server }: Begun,
  said: Said,
) {
  server?.timeout(request, 0)
  const came = performance.now()
  const managed = findModel(state.models, model)
  const leaves = keep_alive !== undefined && keep_alive !== null && parseKeepAlive(keep_alive) === 0
  if (!leaves) {
    using _ = await leaseModel(state, managed.name, request.signal)
    applyKeepAlive(state.models, managed, keep_alive)
  } else applyKeepAlive(state.models, managed, keep_alive)
  return {
    model,
    created_at: new Date().toISOString(),
    done: true,
    done_reason: leaves ? ("unload" as const) : ("load" as const),
    total_duration: Math.round((performance.now() - came) * 1e6),
    ...said,
  }
}

const hidden = { detail: { hide: true } }

/** Models come and go with the server's own command line. */
const refuse = (instead: string) => () => {
  throw new ApiError(
    501,
    "invalid_request_error",
    `This server does not change its models; ${instead}.`,
    null,
    "not_implemented",
  )
}
const start = "start it with the models that it is to serve: rocmforge serve MODEL…"
const refusals = new Elysia()
  .post("/api/pull", refuse(`${start} (hf:owner/repo/file.gguf is downloaded)`), hidden)
  .post("/api/push", refuse("its models are plain GGUF files, to be copied as such"), hidden)
  .post("/api/create", refuse(start), hidden)
  .post("/api/copy", refuse(start), hidden)
  .delete("/api/delete", refuse(start), hidden)
  .head("/api/blobs/:digest", refuse(start), hidden)
  .post("/api/blobs/:digest", refuse(start), hidden)
