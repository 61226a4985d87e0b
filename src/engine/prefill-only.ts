/** Requests that compute a prompt and generate nothing: embeddings, and the log-probabilities of a text's tokens. */

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

export interface EmbedRequest extends Pick<GenerateRequest, "id" | "tokens" | "priority" | "key" | "deadlineMs"> {
  pooling: Pooling
}

/** f32 [hidden size] of length 1, and what it cost. */
export interface Embedding {
  vector: Float32Array
  usage: Usage
}

/**
 * The embedding of a prompt. It goes through the engine as any request does, in chunks beside the others, up to the whole context long.
 * @throws RequestError for a prompt that is empty, too long, or holds an unknown id; OverloadedError; EngineError, also when the signal fires.
 */
export async function embedTokens(
  engine: Pick<Engine, "generate">,
  request: EmbedRequest,
  signal?: AbortSignal,
): Promise<Embedding> {
  const { embedding, usage } = await prefillOnly(engine, { ...request, sampling: GREEDY }, signal)
  if (embedding === undefined) throw new EngineError("the engine ended a request without its embedding")
  return { vector: embedding, usage }
}

export interface ScoreRequest
  extends Pick<GenerateRequest, "id" | "tokens" | "priority" | "key" | "cacheSalt" | "deadlineMs"> {
  /** Alternatives for each token, 0 to 20. */
  top: number
}

/**
 * Scores of a text's tokens from the second on, which is what its first one says of it: [tokens.length - 1]. The text's blocks stay in the
 * prefix cache, for a request that goes on with it.
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
  if (scores === undefined) throw new EngineError("the engine ended a request without its scores")
  return { scores, usage }
}

/**
 * Runs a request that gives no tokens, and returns what it gives at its end.
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
  throw new EngineError("the engine ended a request without a word")
}
