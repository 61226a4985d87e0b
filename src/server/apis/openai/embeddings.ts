import { Elysia } from "elysia"
import { embed, prepareEmbedding } from "../../chat/embed.ts"
import { readJson } from "../../http/body.ts"
import { exampleModel, type ServerState } from "../../http/context.ts"
import { requestBody, responseBody } from "../../http/documented.ts"
import { runJob } from "../../http/job.ts"
import { endpoint, GENERATION_ERRORS } from "../../http/openapi.ts"
import {
  type EmbeddingRequest,
  type EmbeddingResponse,
  embeddingRequest,
  embeddingResponse,
} from "./embeddings-schema.ts"

/** `POST /v1/embeddings`. */
export const embeddingRoutes = (state: ServerState) =>
  new Elysia().post(
    "/v1/embeddings",
    ({ body, request, server }) =>
      runJob<EmbeddingResponse>(state, "embd", { ...body, stream: false }, { request, server }, async (model, head) => {
        const embedding = await prepareEmbedding(model, head, inputs(body), body)
        return {
          controller: head.controller,
          complete: async () => {
            const { vectors, prompt_tokens } = await embed(embedding)
            const write = body.encoding_format === "base64" ? base64 : (vector: Float32Array) => Array.from(vector)
            return {
              object: "list",
              data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: write(vector) })),
              model: model.name,
              usage: { prompt_tokens, total_tokens: prompt_tokens },
            }
          },
          chunks: () => {
            throw new Error("embeddings are not streamed")
          },
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
          "The last hidden states of a text's tokens (after the output norm), pooled and scaled to length 1. Every model gives them; " +
          "those trained for it give vectors whose distance means something.",
        response: embeddingResponse,
        errors: GENERATION_ERRORS,
      }),
    },
  )

function inputs({ input }: EmbeddingRequest): (string | number[])[] {
  const isIds = (value: unknown[]): value is number[] => typeof value[0] === "number"
  return typeof input === "string" ? [input] : isIds(input) ? [input] : input
}

/** As little-endian floats. */
function base64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * vector.length))
  for (const [i, value] of vector.entries()) bytes.setFloat32(4 * i, value, true)
  return Buffer.from(bytes.buffer).toString("base64")
}
