/** `POST /embedding` and `/embeddings` in llama-server's own form, and its routes that rank texts. */

import { Elysia } from "elysia"
import { z } from "zod"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import { ranks, rankTexts } from "../../chat/rank.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { ApiError, answerErrors, invalidRequest } from "../../http/errors.ts"
import { type Incoming, runWhole } from "../../http/job.ts"
import { modelName, openObject } from "../../http/lenient.ts"
import { LIMITS, list } from "../../http/limits.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { llamaError, llamaErrorSchema } from "./errors.ts"
import { promptsOf, promptTokens } from "./prompts.ts"

const text = z.unknown().describe("A text, a list of token ids and texts, or a list of either.")
const embeddingRequest = openObject("", {
  model: modelName,
  content: text.optional(),
  input: text.optional(),
  embd_normalize: z
    .int()
    .min(-1)
    .max(100)
    .nullish()
    .describe(
      "The norm that vectors are divided by: -1: none; 0: their greatest number, of 32760; 1, 2 or p: that norm. Default 2.",
    ),
  encoding_format: z
    .enum(["float"], { error: "only float is supported here; use /v1/embeddings for base64" })
    .nullish(),
})
const embeddingResponse = z.array(z.object({ index: z.int(), embedding: z.array(z.array(z.number())) }))

const rankRequest = openObject("", {
  model: modelName,
  query: z.string(),
  documents: list(z.string(), LIMITS.inputs, 1).nullish(),
  texts: list(z.string(), LIMITS.inputs, 1).nullish(),
  top_n: z.int().min(1).nullish(),
  return_text: z.boolean().nullish().describe("Repeat the texts. Only with texts."),
})

const rankResponse = z.union([
  z.object({
    model: z.string(),
    object: z.literal("list"),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
    results: z.array(z.object({ index: z.int(), relevance_score: z.number() })).describe("The best one first."),
  }),
  z.array(z.object({ index: z.int(), score: z.number(), text: z.string().optional() })).describe("For texts."),
])

const errors = { ...GENERATION_ERRORS, 501: "The model cannot do this." }

export function llamaEmbeddingRoutes(state: ServerState) {
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json"] as const
  const doc = { tag: "llama-server", failure: llamaErrorSchema, errors }
  const route = {
    parse: [...parse],
    body: requestBody(embeddingRequest, { model: exampleModel(state), content: "The sky is blue." }),
    response: { 200: responseBody(embeddingResponse) },
    detail: endpoint({
      ...doc,
      summary: "Turn texts into vectors, in llama-server's form",
      response: embeddingResponse,
    }),
  }
  const rank = {
    parse: [...parse],
    body: requestBody(rankRequest, {
      model: exampleModel(state),
      query: "What is a panda?",
      documents: ["It is a bear.", "Hello."],
    }),
    response: { 200: responseBody(rankResponse) },
    detail: endpoint({ ...doc, summary: "Rank texts by how well they answer a query", response: rankResponse }),
  }
  return new Elysia()
    .onError(answerErrors(llamaError))
    .post("/embedding", ({ body, request, server }) => embedAll(state, body, { request, server }), route)
    .post("/embeddings", ({ body, request, server }) => embedAll(state, body, { request, server }), route)
    .post("/rerank", ({ body, request, server }) => rankAll(state, body, { request, server }), rank)
    .post("/reranking", ({ body, request, server }) => rankAll(state, body, { request, server }), rank)
    .post("/v1/rerank", ({ body, request, server }) => rankAll(state, body, { request, server }), rank)
    .post("/v1/reranking", ({ body, request, server }) => rankAll(state, body, { request, server }), rank)
}

function embedAll(state: ServerState, body: z.output<typeof embeddingRequest>, incoming: Incoming) {
  const field = body.content === undefined ? "input" : "content"
  const prompts = promptsOf(body.content ?? body.input, field)
  return runWhole(state, { idPrefix: "embd", model: body.model }, incoming, async (model, context) => {
    const input: (string | readonly number[])[] = []
    for (const prompt of prompts) {
      const [only] = prompt
      const isText = prompt.length === 1 && typeof only === "string"
      input.push(isText ? only : [...(await promptTokens(model, prompt, "input"))])
    }
    const { pooling, hiddenSize } = model.config
    const request = { input, norm: body.embd_normalize ?? undefined, ...(pooling === "none" && { pooling }) }
    const { vectors } = await embed(await prepareEmbedding(model, context, request))
    return vectors.map((vector, index) => ({
      index,
      embedding: pooling === "none" ? rowsOf(vector, hiddenSize) : [Array.from(vector)],
    }))
  })
}

/** The rows of a matrix, [n, width]. */
const rowsOf = (values: Float32Array, width: number): number[][] =>
  Array.from({ length: values.length / width }, (_, row) => Array.from(values.subarray(row * width, (row + 1) * width)))

/** Ranks documents, or texts in the form of Text Embeddings Inference. */
function rankAll(state: ServerState, body: z.output<typeof rankRequest>, incoming: Incoming) {
  const { query, documents, texts, top_n, return_text } = body
  const list = documents ?? texts
  if (!list) throw invalidRequest("'documents' is required.", "documents", "missing_required_parameter")
  return runWhole(state, { idPrefix: "rank", model: body.model }, incoming, async (model, context) => {
    if (!ranks(model))
      throw new ApiError(
        501,
        "invalid_request_error",
        `The model '${model.name}' does not rank texts. /v1/score compares texts by their embeddings.`,
        "model",
        "unsupported_model",
      )
    const pairs = list.map((text) => [query, text] as const)
    const { scores, promptTokens } = await rankTexts(model, context, pairs)
    const ranked = scores
      .map((score, index) => ({ index, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, top_n ?? scores.length)
    if (!documents) return ranked.map((item) => ({ ...item, ...(return_text && { text: list[item.index] }) }))
    return {
      model: model.name,
      object: "list" as const,
      usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
      results: ranked.map(({ index, score }) => ({ index, relevance_score: score })),
    }
  })
}
