/** How likely a text is to the model: the log-probability of each of its tokens behind those before it. */

import { EngineError } from "../errors.ts"
import { read } from "./reading.ts"
import { type Engine, type GenerateRequest, GREEDY, type TokenLogprobs, type Usage } from "./types.ts"

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
  const { scores, usage } = await read(engine, request, signal)
  if (scores === undefined) throw new EngineError("the engine ended a request without its scores")
  return { scores, usage }
}
