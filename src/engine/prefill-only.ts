/** Prefill-only requests, which generate nothing: embeddings, and scores (the log-probability of each token after those before it). */

import { EngineError, OverloadedError } from "../errors.ts"
import {
  type Engine,
  type GenerateRequest,
  GREEDY,
  type Pooling,
  type PrefillOnlyResult,
  type TokenLogprobs,
  type Usage,
} from "./types.ts"

interface EmbedRequest extends Pick<GenerateRequest, "id" | "tokens" | "priority" | "key" | "deadlineMs"> {
  pooling: Pooling
}

/** `vector`: f32 [hidden size], of length 1. `raw`: as the model gives it; with pooling `none` it is [tokens, hidden size]. */
interface Embedding {
  vector: Float32Array
  raw: Float32Array
  usage: Usage
}

/**
 * Computes the embedding of a prompt, which may fill the context.
 * @throws RequestError for a prompt that is empty, too long, or holds an unknown id; OverloadedError; EngineError, also when the signal fires.
 */
export async function embedTokens(
  engine: Pick<Engine, "generate">,
  request: EmbedRequest,
  signal?: AbortSignal,
): Promise<Embedding> {
  const { embedding, usage } = await prefillOnly(engine, { ...request, sampling: GREEDY }, signal)
  if (embedding === undefined) throw new EngineError("the engine ended the request without an embedding")
  const length = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0))
  return { vector: embedding.map((value) => value / length), raw: embedding, usage }
}

interface ScoreRequest
  extends Pick<GenerateRequest, "id" | "tokens" | "priority" | "key" | "cacheSalt" | "deadlineMs"> {
  /** Alternatives to report for each token, 0 to 20. */
  top: number
}

/**
 * Computes [tokens.length - 1] scores, one for each token from the second on. The blocks stay in the prefix cache, for a request that
 * continues the text.
 * @throws RequestError for fewer than two tokens, more than the context holds, or an unknown id; OverloadedError; EngineError, also when
 * the signal fires.
 */
export async function scoreTokens(
  engine: Pick<Engine, "generate">,
  { top, tokens, ...place }: ScoreRequest,
  signal?: AbortSignal,
): Promise<{ scores: TokenLogprobs[]; usage: Usage }> {
  const sampling = { ...GREEDY, logprobs: top }
  const request = { ...place, tokens: tokens.subarray(0, -1), targets: tokens.subarray(1), sampling }
  const { scores, usage } = await prefillOnly(engine, request, signal)
  if (scores === undefined) throw new EngineError("the engine ended the request without scores")
  return { scores, usage }
}

/**
 * Runs a prefill-only request.
 * @throws RequestError, OverloadedError, or EngineError, also when the signal fires.
 */
async function prefillOnly(
  engine: Pick<Engine, "generate">,
  request: Omit<GenerateRequest, "maxTokens" | "stopTokens" | "n">,
  signal?: AbortSignal,
): Promise<PrefillOnlyResult & { usage: Usage }> {
  for await (const event of engine.generate({ ...request, maxTokens: 1, stopTokens: new Set() }, signal)) {
    if (event.type !== "end") continue
    if (event.reason !== "cancelled") return event
    const reason: unknown = signal?.reason
    if (reason instanceof OverloadedError || reason instanceof EngineError) throw reason
    throw new EngineError("the request was cancelled before it ended")
  }
  throw new EngineError("the engine ended the request without a result")
}
