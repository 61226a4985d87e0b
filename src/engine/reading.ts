import { EngineError, OverloadedError } from "../errors.ts"
import type { Engine, GenerateRequest, Reading, Usage } from "./types.ts"

/**
 * Runs a request that gives no tokens, and returns what it gives at its end.
 * @throws RequestError, OverloadedError, or EngineError, also when the signal fires.
 */
export async function read(
  engine: Pick<Engine, "generate">,
  request: Omit<GenerateRequest, "maxTokens" | "stopTokens" | "n">,
  signal?: AbortSignal,
): Promise<Reading & { usage: Usage }> {
  for await (const event of engine.generate({ ...request, maxTokens: 1, stopTokens: new Set() }, signal)) {
    if (event.type !== "end") continue
    if (event.reason !== "cancelled") return event
    const reason: unknown = signal?.reason
    if (reason instanceof OverloadedError || reason instanceof EngineError) throw reason
    throw new EngineError("the request was cancelled before it ended")
  }
  throw new EngineError("the engine ended a request without a word")
}
