import { Elysia } from "elysia"
import { type EmbedRequest, embedTokens } from "../../engine/embedding.ts"
import type { LoadedModel } from "../../engine/load.ts"
import type { EngineLimits } from "../../engine/types.ts"
import { readJson } from "../body.ts"
import { invalidRequest } from "../errors.ts"
import { requestBody, responseBody } from "../schemas/documented.ts"
import {
  type EmbeddingRequest,
  type EmbeddingResponse,
  embeddingRequest,
  embeddingResponse,
} from "../schemas/embeddings.ts"
import { exampleModel, type ServerState } from "../state.ts"
import { type Head, runJob } from "./job.ts"
import { endpoint, GENERATION_ERRORS } from "./openapi.ts"

/** `POST /v1/embeddings`. */
export const embeddingRoutes = (state: ServerState) =>
  new Elysia().post(
    "/v1/embeddings",
    ({ body, request, server }) =>
      runJob<EmbeddingResponse>(state, "embd", { ...body, stream: false }, { request, server }, (model, head) => {
        const texts = inputs(model, body)
        for (const tokens of texts) checkInput(tokens, model.engine.limits)
        checkDimensions(body.dimensions ?? 1, model.config.hidden_size)
        return {
          controller: head.controller,
          complete: () => embed(model, head, texts, body),
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

function inputs({ tokenizer }: LoadedModel, { input }: EmbeddingRequest): Int32Array[] {
  const isIds = (value: unknown[]): value is number[] => typeof value[0] === "number"
  const list: (string | number[])[] = typeof input === "string" ? [input] : isIds(input) ? [input] : input
  return list.map((item) => {
    if (typeof item !== "string") return Int32Array.from(item)
    const tokens = tokenizer.encode(item, { addBos: tokenizer.addBos })
    const { addEos, eosId } = tokenizer
    return addEos && eosId !== undefined ? Int32Array.of(...tokens, eosId) : tokens
  })
}

/** @throws ApiError 400 for a text that is too long, or a token id that does not exist */
function checkInput(tokens: Int32Array, { n_vocab, context_length }: EngineLimits): void {
  if (tokens.length > context_length)
    throw invalidRequest(
      `A text has ${tokens.length} tokens, and the model's context holds ${context_length}; shorten it, or embed it in parts.`,
      "input",
      "context_length_exceeded",
    )
  const unknown = tokens.find((token) => token >= n_vocab)
  if (unknown !== undefined)
    throw invalidRequest(
      `'input': token ${unknown} does not exist; ids are 0 to ${n_vocab - 1}.`,
      "input",
      "invalid_value",
    )
}

/** @throws ApiError 400 */
function checkDimensions(dimensions: number, most: number): void {
  if (dimensions > most)
    throw invalidRequest(
      `'dimensions': this model's embeddings have ${most} numbers; ask for as many or fewer.`,
      "dimensions",
      "invalid_value",
    )
}

/** Embeds the texts, as many at a time as the engine computes together: they are one request, and are not to fill its queue. */
async function embed(
  model: LoadedModel,
  { id, controller, standing }: Head,
  texts: readonly Int32Array[],
  body: EmbeddingRequest,
): Promise<EmbeddingResponse> {
  const { engine, config } = model
  const vectors: Float32Array[] = []
  // Embeddings are not looked up in the prefix cache.
  const { cache_salt: _, ...place } = standing
  const pooling = body.pooling ?? config.pooling ?? "mean"
  let next = 0
  let prompt_tokens = 0
  const work = async () => {
    for (let index = next++; index < texts.length; index = next++) {
      const request: EmbedRequest = { ...place, id: `${id}-${index}`, tokens: texts[index] as Int32Array, pooling }
      const { vector, usage } = await embedTokens(engine, request, controller.signal)
      vectors[index] = shorten(vector, body.dimensions ?? vector.length)
      prompt_tokens += usage.prompt_tokens
    }
  }
  const workers = Array.from({ length: Math.min(texts.length, engine.limits.max_seqs) }, work)
  try {
    await Promise.all(workers)
  } finally {
    // The first failure stops the others.
    controller.abort()
    await Promise.allSettled(workers)
  }
  const write = body.encoding_format === "base64" ? base64 : (vector: Float32Array) => Array.from(vector)
  return {
    object: "list",
    data: vectors.map((vector, index) => ({ object: "embedding", index, embedding: write(vector) })),
    model: model.name,
    usage: { prompt_tokens, total_tokens: prompt_tokens },
  }
}

/** The leading `dimensions` numbers of a vector, of length 1 again. */
function shorten(vector: Float32Array, dimensions: number): Float32Array {
  if (dimensions === vector.length) return vector
  const part = vector.slice(0, dimensions)
  const length = Math.sqrt(part.reduce((sum, value) => sum + value * value, 0))
  return length > 0 ? part.map((value) => value / length) : part
}

/** As little-endian floats. */
function base64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * vector.length))
  for (const [i, value] of vector.entries()) bytes.setFloat32(4 * i, value, true)
  return Buffer.from(bytes.buffer).toString("base64")
}
