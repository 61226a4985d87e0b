/** Embeddings: texts or token ids → vectors. */

import { sideBySide } from "../../async.ts"
import { embedTokens } from "../../engine/prefill-only.ts"
import type { LoadedModel, Pooling } from "../../engine/types.ts"
import { ContextOverflowError, fieldMessage, RequestError } from "../../errors.ts"
import type { RunContext } from "./choices.ts"
import { encodeText, encodeToRead } from "./encode.ts"
import type { EmbeddingRequest } from "./request.ts"

/** A checked and tokenized request for embeddings. */
interface Embedding {
  readonly model: LoadedModel
  readonly run: RunContext
  readonly texts: readonly Int32Array[]
  readonly pooling: Pooling
  /** Leading numbers of each vector that are kept. */
  readonly dimensions: number
}

/** @throws RequestError */
export async function prepareEmbedding(
  model: LoadedModel,
  run: RunContext,
  { input: inputs, dimensions, pooling, maxLength, truncate = false }: EmbeddingRequest,
): Promise<Embedding> {
  const { engine, config, name } = model
  const longest = maxLength ?? engine.limits.contextLength
  if (config.pooling === "rank")
    throw new RequestError(
      `The model '${name}' ranks texts against each other (its pooling_type is 4) and gives no embeddings; use an embedding model.`,
      "model",
      "unsupported_model",
    )
  if ((dimensions ?? 1) > config.hiddenSize)
    throw new RequestError(
      fieldMessage`'{dimensions}': this model's embeddings have ${config.hiddenSize} numbers; ask for as many or fewer.`,
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
    pooling: pooling ?? (config.pooling === "none" ? undefined : config.pooling) ?? "mean",
    dimensions: dimensions ?? config.hiddenSize,
  }
}

/** The tokens of one input. A text, cut or not, gets the model's beginning and end tokens. */
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

/** @throws RequestError for a text that is too long, or a token id that does not exist */
function checkInput(tokens: Int32Array, nVocab: number, longest: number): void {
  if (tokens.length > longest) throw new ContextOverflowError(tokens.length, longest, "input")
  const unknown = tokens.find((token) => token >= nVocab)
  if (unknown !== undefined)
    throw new RequestError(
      fieldMessage`'{input}': token ${unknown} does not exist; ids are 0 to ${nVocab - 1}.`,
      "input",
      "invalid_value",
    )
}

/**
 * Embeds the texts; to be called once. The engine gets as many at a time as it computes together, so that one request does not fill its
 * queue.
 * @returns for each text f32 [dimensions] of length 1, or with pooling `none` [tokens, hidden size], and the tokens of all texts.
 * @throws RequestError, EngineError, OverloadedError
 */
export async function embed({
  model,
  run: { id, controller, queue },
  texts,
  pooling,
  dimensions,
}: Embedding): Promise<{ vectors: Float32Array[]; promptTokens: number }> {
  const { engine } = model
  // Embeddings are not looked up in the prefix cache.
  const { cacheSalt: _, ...place } = queue
  const embeddings = await sideBySide(texts, engine.limits.maxSeqs, controller, (tokens, index) =>
    embedTokens(engine, { ...place, id: `${id}-${index}`, tokens, pooling }, controller.signal),
  )
  return {
    vectors: embeddings.map(({ vector }) => (pooling === "none" ? vector : shorten(vector, dimensions))),
    promptTokens: embeddings.reduce((sum, { usage }) => sum + usage.promptTokens, 0),
  }
}

/** The leading `dimensions` numbers of a vector, of length 1 again. */
function shorten(vector: Float32Array, dimensions: number): Float32Array {
  if (dimensions === vector.length) return vector
  const part = vector.slice(0, dimensions)
  const length = Math.sqrt(part.reduce((sum, value) => sum + value * value, 0))
  return length > 0 ? part.map((value) => value / length) : part
}
