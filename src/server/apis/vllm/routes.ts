/** vLLM's routes beside OpenAI's: `/score`, `/pooling`, `/version`, `/ping` and `/load`. */

import { Elysia } from "elysia"
import { z } from "zod"
import { version } from "../../../../package.json"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import { ranks, rankTexts } from "../../chat/rank.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { type Incoming, type JobContext, runWhole } from "../../http/job.ts"
import { modelName, noEffect, openObject } from "../../http/lenient.ts"
import { LIMITS, list, textsOrTokens } from "../../http/limits.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { listOf } from "../openai/request.ts"
import { openAiError } from "../openai/wire.ts"

const texts = z.union([z.string(), list(z.string(), LIMITS.inputs, 1)])
const scoreRequest = openObject("", {
  model: modelName,
  text_1: texts.nullish().describe("A text, or a list of as many texts as text_2 has."),
  text_2: texts.nullish().describe("The texts to compare with it."),
  queries: texts.nullish().describe("The same as text_1."),
  documents: texts.nullish().describe("The same as text_2."),
  use_activation: noEffect("is for models that rank, and these scores are cosines"),
  activation: noEffect("is for models that rank, and these scores are cosines"),
})
  .refine(({ text_1, queries }) => (text_1 ?? queries) !== undefined, { path: ["text_1"], error: "is required" })
  .refine(({ text_2, documents }) => (text_2 ?? documents) !== undefined, { path: ["text_2"], error: "is required" })
  .refine((body) => sizesFit(countOf(body.text_1 ?? body.queries), countOf(body.text_2 ?? body.documents)), {
    path: ["text_2"],
    error: "expected as many texts as text_1 has, where that is not one text",
  })

const countOf = (value: string | string[] | null | undefined): number => (Array.isArray(value) ? value.length : 1)
const sizesFit = (first: number, second: number): boolean => first === 1 || first === second

const poolingRequest = openObject("", {
  model: modelName,
  input: textsOrTokens(z.string(), LIMITS.inputs),
  dimensions: z.int().min(1).nullish(),
  encoding_format: z.literal("float").nullish(),
  task: noEffect("names the kind of vector, of which a model has one"),
  use_activation: noEffect("is for models that classify"),
})

const usage = z.object({ prompt_tokens: z.int(), total_tokens: z.int() })
const head = { id: z.string(), object: z.literal("list"), created: z.int(), model: z.string(), usage }
const scoreResponse = z.object({
  ...head,
  data: z.array(
    z.object({
      index: z.int(),
      object: z.literal("score"),
      score: z.number().describe("By a model that ranks, its score; else the cosine of the two embeddings."),
    }),
  ),
})
const poolingResponse = z.object({
  ...head,
  data: z.array(z.object({ index: z.int(), object: z.literal("pooling"), data: z.array(z.number()) })),
})
const versionBody = z.object({ version: z.string() })
const loadBody = z.object({ server_load: z.int().describe("Requests that use a model or wait for one.") })

/** The version of vLLM whose API this server has; clients compare it with those that they need. */
const VLLM_VERSION = "0.11.0"

export function vllmRoutes(state: ServerState) {
  const parse = [({ request }: { request: Request }) => readJson(request, state.maxBodyBytes), "json"] as const
  const model = exampleModel(state)
  const score = {
    parse: [...parse],
    body: requestBody(scoreRequest, { model, text_1: "What is a panda?", text_2: ["It is a bear.", "Hello."] }),
    response: { 200: responseBody(scoreResponse) },
    detail: endpoint({
      tag: "vLLM",
      summary: "Compare texts by their embeddings",
      response: scoreResponse,
      errors: GENERATION_ERRORS,
    }),
  }
  return new Elysia()
    .onError(answerErrors(openAiError))
    .post("/score", ({ body, request, server }) => scoreTexts(state, body, { request, server }), score)
    .post("/v1/score", ({ body, request, server }) => scoreTexts(state, body, { request, server }), score)
    .post("/pooling", ({ body, request, server }) => poolTexts(state, body, { request, server }), {
      parse: [...parse],
      body: requestBody(poolingRequest, { model, input: "The sky is blue." }),
      response: { 200: responseBody(poolingResponse) },
      detail: endpoint({
        tag: "vLLM",
        summary: "Turn texts into vectors, in vLLM's form",
        response: poolingResponse,
        errors: GENERATION_ERRORS,
      }),
    })
    .get("/version", () => ({ version: `${VLLM_VERSION}+rocmforge.${version}` }), {
      response: { 200: responseBody(versionBody) },
      detail: endpoint({ tag: "vLLM", summary: "The version", response: versionBody, errors: {} }),
    })
    .get("/ping", () => new Response(null), { detail: { hide: true } })
    .post("/ping", () => new Response(null), { detail: { hide: true } })
    .get("/load", () => ({ server_load: state.models.requests }), {
      response: { 200: responseBody(loadBody) },
      detail: endpoint({ tag: "vLLM", summary: "The number of requests", response: loadBody, errors: {} }),
    })
}

type ModelJob = Parameters<Parameters<typeof runWhole>[3]>[0]

function scoreTexts(state: ServerState, body: z.output<typeof scoreRequest>, incoming: Incoming) {
  const first = listed(body.text_1 ?? body.queries)
  const second = listed(body.text_2 ?? body.documents)
  return answerList(state, "score", body.model, incoming, async (model, context) => {
    if (ranks(model)) {
      const pairs = second.map((text, i) => [first[first.length === 1 ? 0 : i] ?? "", text] as const)
      const { scores, promptTokens } = await rankTexts(model, context, pairs)
      return { data: scores.map((score, index) => ({ index, object: "score" as const, score })), promptTokens }
    }
    const { vectors, promptTokens } = await embed(
      await prepareEmbedding(model, context, { input: [...first, ...second] }),
    )
    const data = second.map((_, index) => {
      const a = vectors[first.length === 1 ? 0 : index] ?? new Float32Array()
      const b = vectors[first.length + index] ?? new Float32Array()
      // Both have length 1.
      return { index, object: "score" as const, score: a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0) }
    })
    return { data, promptTokens }
  })
}

const listed = (value: string | string[] | null | undefined): string[] =>
  value === undefined || value === null ? [] : typeof value === "string" ? [value] : value

function poolTexts(state: ServerState, body: z.output<typeof poolingRequest>, incoming: Incoming) {
  return answerList(state, "pool", body.model, incoming, async (model, context) => {
    const request = { input: listOf(body.input), dimensions: body.dimensions ?? undefined }
    const { vectors, promptTokens } = await embed(await prepareEmbedding(model, context, request))
    const data = vectors.map((vector, index) => ({ index, object: "pooling" as const, data: Array.from(vector) }))
    return { data, promptTokens }
  })
}

/** Runs `work` on a model, and answers with its list. */
const answerList = <T>(
  state: ServerState,
  idPrefix: string,
  model: string | null | undefined,
  incoming: Incoming,
  work: (model: ModelJob, context: JobContext) => Promise<{ data: T[]; promptTokens: number }>,
) =>
  runWhole(state, { idPrefix, model }, incoming, async (model, context) => {
    const { data, promptTokens } = await work(model, context)
    const { id, created } = context
    const usage = { prompt_tokens: promptTokens, total_tokens: promptTokens }
    return { id, object: "list" as const, created, model: context.model, data, usage }
  })
