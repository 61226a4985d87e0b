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
  /** The norm by which vectors are scaled. */
  readonly norm: number
}

/** @throws RequestError */
export async function prepareEmbedding(
  model: LoadedModel,
  run: RunContext,
  { input: inputs, dimensions, pooling, maxLength, norm = 2, ...cut }: EmbeddingRequest,
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
  for (const input of inputs) texts.push(await tokensOf(model, input, longest, cut))
  for (const tokens of texts) checkInput(tokens, engine.limits.nVocab, longest)
  return {
    model,
    run,
    texts,
    pooling: pooling ?? (config.pooling === "none" ? undefined : config.pooling) ?? "mean",
    dimensions: dimensions ?? config.hiddenSize,
    norm,
  }
}

/**
 * The tokens of one input. A text at its start, cut or not, gets the model's beginning token, and one at its end the end token.
 * @param longest Most tokens of a text.
 */
async function tokensOf(
  model: LoadedModel,
  input: string | readonly (string | number)[],
  longest: number,
  { truncate = false, keptTokens, addSpecialTokens = true }: Omit<EmbeddingRequest, "input">,
): Promise<Int32Array> {
  const last = keptTokens === -1 ? longest : Math.min(keptTokens ?? Number.POSITIVE_INFINITY, longest)
  const { addBos, addEos, eosId } = model.tokenizer
  const encode = truncate || keptTokens !== undefined ? encodeText : encodeToRead
  const read: number[] = []
  const parts = typeof input === "string" ? [input] : input
  for (const [i, part] of parts.entries()) {
    if (typeof part === "number") read.push(part)
    else
      for (const token of await encode(model, part, { addBos: i === 0 && addBos && addSpecialTokens }, "input"))
        read.push(token)
  }
  const ended = typeof parts.at(-1) === "string" && addEos && addSpecialTokens && eosId !== undefined
  const end = ended ? [eosId] : []
  const kept = truncate ? read.slice(0, Math.max(0, longest - end.length)) : read
  const tokens = Int32Array.from(end.length > 0 ? [...kept, ...end] : kept)
  return keptTokens === undefined ? tokens : tokens.subarray(Math.max(0, tokens.length - last))
}

/** @throws RequestError for a text that is too long or has no tokens, or a token id that does not exist */
function checkInput(tokens: Int32Array, nVocab: number, longest: number): void {
  if (tokens.length === 0)
    throw new RequestError(
      fieldMessage`'{input}': a text is empty, and this model adds no tokens to it; send texts that are not empty.`,
      "input",
      "invalid_value",
    )
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
 * @returns for each text f32 [dimensions], scaled by the norm, or with pooling `none` [tokens, hidden size], and the tokens of all texts.
 * @throws RequestError, EngineError, OverloadedError
 */
export async function embed({
  model,
  run: { id, controller, queue },
  texts,
  pooling,
  dimensions,
  norm,
}: Embedding): Promise<{ vectors: Float32Array[]; promptTokens: number }> {
  const { engine } = model
  // Embeddings are not looked up in the prefix cache.
  const { cacheSalt: _, ...place } = queue
  const embeddings = await sideBySide(texts, engine.limits.maxSeqs, controller, (tokens, index) =>
    embedTokens(engine, { ...place, id: `${id}-${index}`, tokens, pooling }, controller.signal),
  )
  return {
    vectors: embeddings.map(({ vector, raw }) => {
      if (pooling === "none") return raw
      return norm === 2 && dimensions === vector.length ? vector : scaled(raw.subarray(0, dimensions), norm)
    }),
    promptTokens: embeddings.reduce((sum, { usage }) => sum + usage.promptTokens, 0),
  }
}

/** A vector by a norm of 1: p (1, 2, …), or the greatest number (0), which becomes 32760 as in 16-bit integers; -1: unchanged. */
function scaled(vector: Float32Array, norm: number): Float32Array {
  if (norm < 0) return vector
  const size =
    norm === 0
      ? vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 32760
      : vector.reduce((sum, value) => sum + Math.abs(value) ** norm, 0) ** (1 / norm)
  return size > 0 ? vector.map((value) => value / size) : vector
}
