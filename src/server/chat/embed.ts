/** What every API that embeds texts is made of: texts or token ids go in, vectors come out. */

import { sideBySide } from "../../async.ts"
import { embedTokens } from "../../engine/prefill-only.ts"
import type { LoadedModel, Pooling } from "../../engine/types.ts"
import { invalidRequest } from "../http/errors.ts"
import type { Run } from "./choices.ts"
import { encodeText, encodeToRead } from "./encode.ts"

/** Texts that are ready to be embedded. */
export interface Embedding {
  readonly model: LoadedModel
  readonly run: Run
  readonly texts: readonly Int32Array[]
  readonly pooling: Pooling
  /** Leading numbers of each vector that are kept. */
  readonly dimensions: number
}

export interface EmbeddingOptions {
  readonly dimensions?: number | null
  /** Default: what the model's file says, else the mean. */
  readonly pooling?: Pooling | null
  /** Tokens of a text at most; default: the model's context. */
  readonly context?: number
  /** Cut texts that have more, where by default they are refused. */
  readonly truncate?: boolean
}

/** @throws ApiError 400 naming what cannot be served. */
export async function prepareEmbedding(
  model: LoadedModel,
  run: Run,
  inputs: readonly (string | readonly number[])[],
  { dimensions, pooling, context, truncate = false }: EmbeddingOptions,
): Promise<Embedding> {
  const { engine, config, name } = model
  const longest = context ?? engine.limits.contextLength
  if (config.pooling === "rank")
    throw invalidRequest(
      `The model '${name}' ranks texts against each other (its pooling_type is 4) and gives no embeddings; use an embedding model.`,
      "model",
      "unsupported_model",
    )
  if ((dimensions ?? 1) > config.hiddenSize)
    throw invalidRequest(
      `'dimensions': this model's embeddings have ${config.hiddenSize} numbers; ask for as many or fewer.`,
      "dimensions",
      "invalid_value",
    )
  const texts: Int32Array[] = []
  for (const input of inputs) texts.push(await tokensOf(model, input, truncate ? longest : undefined))
  for (const tokens of texts) checkInput(tokens, engine.limits.nVocab, longest)
  return {
    model,
    run,
    texts,
    pooling: pooling ?? config.pooling ?? "mean",
    dimensions: dimensions ?? config.hiddenSize,
  }
}

/** The tokens of one input; a text gets the model's own beginning and end, also where it is cut. */
async function tokensOf(
  model: LoadedModel,
  input: string | readonly number[],
  longest: number | undefined,
): Promise<Int32Array> {
  if (typeof input !== "string") return Int32Array.from(input)
  const { addBos, addEos, eosId } = model.tokenizer
  const end = addEos && eosId !== undefined ? [eosId] : []
  const encode = longest === undefined ? encodeToRead : encodeText
  const text = await encode(model, input, { addBos }, "input")
  const kept = longest === undefined ? text : text.subarray(0, Math.max(0, longest - end.length))
  return end.length > 0 ? Int32Array.from([...kept, ...end]) : kept
}

/** @throws ApiError 400 for a text that is too long, or a token id that does not exist */
function checkInput(tokens: Int32Array, nVocab: number, longest: number): void {
  if (tokens.length > longest)
    throw invalidRequest(
      `A text has ${tokens.length} tokens, and the context holds ${longest}; shorten it, or embed it in parts.`,
      "input",
      "context_length_exceeded",
    )
  const unknown = tokens.find((token) => token >= nVocab)
  if (unknown !== undefined)
    throw invalidRequest(
      `'input': token ${unknown} does not exist; ids are 0 to ${nVocab - 1}.`,
      "input",
      "invalid_value",
    )
}

/**
 * Embeds the texts, once, as many at a time as the engine computes together: they are one request, and are not to fill its queue.
 * @returns f32 [dimensions] of length 1 for each text, and what they took.
 */
export async function embed({
  model,
  run: { id, controller, standing },
  texts,
  pooling,
  dimensions,
}: Embedding): Promise<{ vectors: Float32Array[]; prompt_tokens: number }> {
  const { engine } = model
  // Embeddings are not looked up in the prefix cache.
  const { cacheSalt: _, ...place } = standing
  const embeddings = await sideBySide(texts, engine.limits.maxSeqs, controller, (tokens, index) =>
    embedTokens(engine, { ...place, id: `${id}-${index}`, tokens, pooling }, controller.signal),
  )
  return {
    vectors: embeddings.map(({ vector }) => shorten(vector, dimensions)),
    prompt_tokens: embeddings.reduce((sum, { usage }) => sum + usage.promptTokens, 0),
  }
}

/** The leading `dimensions` numbers of a vector, of length 1 again. */
function shorten(vector: Float32Array, dimensions: number): Float32Array {
  if (dimensions === vector.length) return vector
  const part = vector.slice(0, dimensions)
  const length = Math.sqrt(part.reduce((sum, value) => sum + value * value, 0))
  return length > 0 ? part.map((value) => value / length) : part
}
