import type { Responses } from "../apis/responses/responses.ts"
import type { Metrics } from "../observe/metrics.ts"
import type { ModelPool } from "../pool/pool.ts"

/** What every route reads. */
export interface ServerState {
  /** Whoever made it closes it. */
  readonly models: ModelPool
  readonly metrics: Metrics
  readonly responses: Responses
  readonly startedAt: Date
  /** Largest request body, in bytes. */
  readonly maxBodyBytes: number
  /** Quiet time on a stream after which a comment goes out, in milliseconds, so that proxies keep the connection. */
  readonly pingMs: number
  /** Milliseconds after which a request must have ended; `undefined`: as long as it takes. */
  readonly deadlineMs: number | undefined
  /** Prompts find each other's cached beginnings only under the same API key. */
  readonly cacheByKey: boolean
  /** Requests must show an API key. */
  readonly locked: boolean
}

/** A name for examples. */
export const exampleModel = ({ models }: ServerState): string => models.models[0]?.name ?? "model"
