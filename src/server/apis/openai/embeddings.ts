import { Elysia } from "elysia"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import type { EmbeddingRequest } from "../../chat/request.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { answerErrors } from "../../http/errors.ts"
import { runWhole } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import { type EmbeddingBody, type EmbeddingResponse, embeddingRequest, embeddingResponse } from "./embeddings-schema.ts"
import { jobOptions } from "./request.ts"
import { openAiError } from "./wire.ts"

/** `POST /v1/embeddings`. */
export const embeddingRoutes = (state: ServerState) =>
  new Elysia().onError(answerErrors(openAiError)).post(
    "/v1/embeddings",
    ({ body, request, server }) =>
      runWhole<EmbeddingResponse>(state, jobOptions("embd", body), { request, server }, async (model, context) => {
        const { vectors, promptTokens } = await embed(await prepareEmbedding(model, context, toRequest(body)))
        const write = body.encoding_format === "base64" ? base64 : (vector: Float32Array) => Array.from(vector)
        return {
          object: "list",
          data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: write(vector) })),
          model: model.name,
          usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
        }
      }),
    {
      parse: [({ request }) => readJson(request, state.maxBodyBytes), "json"],
      body: requestBody(embeddingRequest, { model: exampleModel(state), input: "The sky is blue." }),
      response: { 200: responseBody(embeddingResponse) },
      detail: endpoint({
        tag: "Generation",
        summary: "Turn texts into vectors",
        description:
          "The final hidden states of a text's tokens (after the output norm), pooled and scaled to length 1. Every model has them, but " +
          "only models trained for embeddings give vectors whose distances are meaningful.",
        response: embeddingResponse,
        errors: GENERATION_ERRORS,
      }),
    },
  )

function toRequest(body: EmbeddingBody): EmbeddingRequest {
  const { input, dimensions, pooling, truncate, truncate_prompt_tokens: kept } = body
  return {
    input: typeof input === "string" || isOne(input) ? [input] : input,
    dimensions: dimensions ?? undefined,
    pooling: pooling ?? undefined,
    truncate: truncate === true || truncate === "END",
    keptTokens: kept ?? (truncate === "START" ? -1 : undefined),
    addSpecialTokens: body.add_special_tokens ?? undefined,
    norm: body.normalize === false ? -1 : (body.embd_normalize ?? undefined),
  }
}

/** Whether a list is one input: of token ids, or of ids and texts. */
const isOne = (input: Exclude<EmbeddingBody["input"], string>): input is (string | number)[] =>
  input.some((part) => typeof part === "number")

/** As little-endian floats. */
function base64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * vector.length))
  for (const [i, value] of vector.entries()) bytes.setFloat32(4 * i, value, true)
  return Buffer.from(bytes.buffer).toString("base64")
}
