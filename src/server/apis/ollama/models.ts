/** Ollama's API: what is served (`/api/tags`, `/api/ps`, `/api/show`, `/api/version`), and embeddings. */

import { Elysia } from "elysia"
import type { z } from "zod"
import { version } from "../../../../package.json"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { nanoseconds } from "./answer.ts"
import { readOllamaJson } from "./body.ts"
import { cardOf, showModel } from "./describe.ts"
import { applyKeepAlive } from "./keep-alive.ts"
import {
  type EmbedBody,
  embeddingsRequest,
  embeddingsResponse,
  embedRequest,
  embedResponse,
  psResponse,
  showRequest,
  showResponse,
  tagsResponse,
  versionResponse,
} from "./models-schema.ts"
import { findModel } from "./names.ts"
import { contextOf } from "./prepare.ts"
import { ollamaError } from "./schema.ts"

type Begun = Parameters<typeof runJob>[3]

/** Clients refuse servers that are older than what they need of the API. */
const API_VERSION = "0.12.11"
/** When a model leaves memory that stays. */
const NEVER = "9999-12-31T23:59:59Z"

export const ollamaModelRoutes = (state: ServerState) => {
  const { models } = state
  const parse = [({ request }: { request: Request }) => readOllamaJson(request, state.maxBodyBytes), "json" as const]
  const model = exampleModel(state)
  const tag = "Ollama"
  const failure = ollamaError
  return new Elysia()
    .get("/api/version", () => ({ version: API_VERSION, rocmforge: version }), {
      response: { 200: responseBody(versionResponse) },
      detail: endpoint({ tag, failure, summary: "The API's version", response: versionResponse, errors: {} }),
    })
    .get(
      "/api/tags",
      async () => ({ models: await Promise.all(models.models.map(async (managed) => (await cardOf(managed)).listed)) }),
      {
        response: { 200: responseBody(tagsResponse) },
        detail: endpoint({
          tag,
          failure,
          summary: "The models served, in Ollama's form",
          response: tagsResponse,
          errors: UNREADABLE,
        }),
      },
    )
    .get("/api/ps", () => inMemory(state), {
      response: { 200: responseBody(psResponse) },
      detail: endpoint({ tag, failure, summary: "The models in memory", response: psResponse, errors: UNREADABLE }),
    })
    .post(
      "/api/show",
      ({ body }) => showModel(findModel(models, body.model || body.name || ""), body.verbose ?? false),
      {
        parse,
        body: requestBody(showRequest, { model }),
        response: { 200: responseBody(showResponse) },
        detail: endpoint({
          tag,
          failure,
          summary: "What a model is, and can do",
          response: showResponse,
          errors: { ...pick(400, 404, 413, 415), ...UNREADABLE },
        }),
      },
    )
    .post(
      "/api/embed",
      ({ body, request, server }) => {
        const inputs = typeof body.input === "string" ? [body.input] : body.input
        return embedTexts(state, body, inputs, { request, server }, (embedded) => embedded)
      },
      {
        parse,
        body: requestBody(embedRequest, { model, input: "The sky is blue." }),
        response: { 200: responseBody(embedResponse) },
        detail: endpoint({
          tag,
          failure,
          summary: "Turn texts into vectors, in Ollama's form",
          response: embedResponse,
          errors: GENERATION_ERRORS,
        }),
      },
    )
    .post(
      "/api/embeddings",
      ({ body, request, server }) =>
        embedTexts(state, body, [body.prompt], { request, server }, ({ embeddings }) => ({
          embedding: embeddings[0] ?? [],
        })),
      {
        parse,
        body: requestBody(embeddingsRequest, { model, prompt: "The sky is blue." }),
        response: { 200: responseBody(embeddingsResponse) },
        detail: endpoint({
          tag,
          failure,
          summary: "Turn a text into a vector (the older form)",
          response: embeddingsResponse,
          errors: GENERATION_ERRORS,
        }),
      },
    )
}

const UNREADABLE = { 503: "A model's file cannot be read now; the message names it." }

const pick = (...statuses: (keyof typeof GENERATION_ERRORS)[]) =>
  Object.fromEntries(statuses.map((status) => [status, GENERATION_ERRORS[status]]))

async function inMemory({ models }: ServerState) {
  const loaded = models.models.flatMap((managed) =>
    managed.model === undefined ? [] : [{ managed, model: managed.model }],
  )
  return {
    models: await Promise.all(
      loaded.map(async ({ managed, model }) => {
        const size = model.memory.weights + model.memory.cache
        return {
          ...(await cardOf(managed)).listed,
          size,
          size_vram: model.device.backend === "cpu" ? 0 : size,
          expires_at: models.expiry(managed)?.toISOString() ?? NEVER,
          context_length: model.engine.limits.contextLength,
        }
      }),
    ),
  }
}

/** Embeds the texts, and writes what `write` makes of it. */
function embedTexts<T>(
  state: ServerState,
  { model: name, keep_alive, options, truncate, dimensions }: EmbedBody,
  inputs: readonly string[],
  begun: Begun,
  write: (embedded: z.output<typeof embedResponse>) => T,
): Promise<T> | Promise<Response> {
  const came = performance.now()
  const managed = findModel(state.models, name)
  return runJob(state, "embd", { model: managed.name, stream: false }, begun, async (model, head) => {
    const loaded = performance.now()
    const context = contextOf(model, options?.num_ctx)
    const embedding = await prepareEmbedding(model, head, inputs, { dimensions, truncate: truncate ?? true, context })
    applyKeepAlive(state.models, managed, keep_alive)
    return {
      controller: head.controller,
      complete: async () => {
        const { vectors, prompt_tokens } = await embed(embedding)
        return write({
          model: name,
          embeddings: vectors.map((vector) => Array.from(vector)),
          total_duration: nanoseconds(performance.now() - came),
          load_duration: nanoseconds(loaded - came),
          prompt_eval_count: prompt_tokens,
        })
      },
      chunks: () => {
        throw new Error("embeddings are not streamed")
      },
    }
  })
}
