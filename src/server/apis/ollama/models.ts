/** Ollama's API: models (`/api/tags`, `/api/ps`, `/api/show`, `/api/version`) and embeddings. */

import { Elysia } from "elysia"
import type { z } from "zod"
import { version } from "../../../../package.json"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type Incoming, runWhole } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import { nanoseconds } from "./answer.ts"
import { modelCard, showModel } from "./describe.ts"
import { FIELDS, ollamaError, PROMPT_FIELDS } from "./errors.ts"
import { applyKeepAlive } from "./keep-alive.ts"
import {
  type EmbedBody,
  embeddingsRequest,
  embeddingsResponse,
  embedRequest,
  embedResponse,
  type ListedModel,
  psResponse,
  showRequest,
  showResponse,
  tagsResponse,
  versionResponse,
} from "./models-schema.ts"
import { contextOf } from "./prepare.ts"
import { readOllamaJson, taggedName } from "./request.ts"
import { ollamaErrorSchema } from "./schema.ts"

/** The version of Ollama's API: clients refuse servers with one that is too old. */
const API_VERSION = "0.12.11"
/** `expires_at` of a model that stays in memory. */
const NEVER = "9999-12-31T23:59:59Z"

export const ollamaModelRoutes = (state: ServerState) => {
  const { models } = state
  const parse = [({ request }: { request: Request }) => readOllamaJson(request, state.maxBodyBytes), "json" as const]
  const model = exampleModel(state)
  const tag = "Ollama"
  const failure = ollamaErrorSchema
  const older = new Elysia().onError(answerErrors(ollamaError(PROMPT_FIELDS))).post(
    "/api/embeddings",
    async ({ body, request, server }) => {
      const { embeddings } = await embedTexts(state, body, [body.prompt], { request, server })
      return { embedding: embeddings[0] ?? [] }
    },
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
  return new Elysia()
    .onError(answerErrors(ollamaError(FIELDS)))
    .get("/api/version", () => ({ version: API_VERSION, rocmforge: version }), {
      response: { 200: responseBody(versionResponse) },
      detail: endpoint({ tag, failure, summary: "The API's version", response: versionResponse, errors: {} }),
    })
    .get(
      "/api/tags",
      async () => ({
        models: (await Promise.all(models.models.map(listedNames))).flat(),
      }),
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
    .post("/api/show", ({ body }) => showModel(models.get(body.model || body.name), body.verbose ?? false), {
      parse,
      body: requestBody(showRequest, { model }),
      response: { 200: responseBody(showResponse) },
      detail: endpoint({
        tag,
        failure,
        summary: "Details and capabilities of a model",
        response: showResponse,
        errors: { ...pick(400, 404, 413, 415), ...UNREADABLE },
      }),
    })
    .post(
      "/api/embed",
      ({ body, request, server }) => {
        const inputs = typeof body.input === "string" ? [body.input] : body.input
        return embedTexts(state, body, inputs, { request, server })
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
    .use(older)
}

/** A model under each of its names. */
async function listedNames(managed: PoolEntry): Promise<ListedModel[]> {
  const { listed } = await modelCard(managed)
  return [managed.name, ...managed.aliases].map((own) => ({ ...listed, name: taggedName(own), model: taggedName(own) }))
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
          ...(await modelCard(managed)).listed,
          size,
          size_vram: model.device.backend === "cpu" ? 0 : size,
          expires_at: models.expiry(managed)?.toISOString() ?? NEVER,
          context_length: model.engine.limits.contextLength,
        }
      }),
    ),
  }
}

function embedTexts(
  state: ServerState,
  { model: name, keep_alive, options, truncate, dimensions }: EmbedBody,
  input: readonly string[],
  incoming: Incoming,
): Promise<z.output<typeof embedResponse>> {
  const arrivedAt = performance.now()
  const managed = state.models.get(name)
  return runWhole(state, { idPrefix: "embd", model: managed.name }, incoming, async (model, context) => {
    const loadedAt = performance.now()
    const embedding = await prepareEmbedding(model, context, {
      input,
      dimensions: dimensions ?? undefined,
      truncate: truncate ?? true,
      maxLength: contextOf(model, options?.num_ctx),
    })
    applyKeepAlive(state.models, managed, keep_alive)
    const { vectors, promptTokens } = await embed(embedding)
    return {
      model: name || managed.name,
      embeddings: vectors.map((vector) => Array.from(vector)),
      total_duration: nanoseconds(performance.now() - arrivedAt),
      load_duration: nanoseconds(loadedAt - arrivedAt),
      prompt_eval_count: promptTokens,
    }
  })
}
