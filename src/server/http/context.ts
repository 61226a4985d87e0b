import type { StoreListener } from "../../store/fetch-file.ts"
import type { Metrics } from "../observe/metrics.ts"
import { currentRequest } from "../observe/record.ts"
import type { ModelSpec } from "../pool/entry.ts"
import type { ModelLease } from "../pool/lease.ts"
import type { ModelPool } from "../pool/pool.ts"

/** Parts of the server that can be left out. */
export type Feature = "slots" | "metrics" | "pages"

/** How llama-server's own routes behave. */
interface LlamaServerOptions {
  /** Fields that a request has where it does not give them. */
  readonly defaults: Readonly<Record<string, unknown>>
  readonly hidden: ReadonlySet<Feature>
}

/**
 * Finds the file of a model by its name in the store or on the hub, which may be downloaded.
 * @throws StoreError, GgufError or ModelError, whose message names the remedy
 */
export type ModelFinder = (
  name: string,
  options: { readonly onProgress: StoreListener; readonly signal: AbortSignal },
) => Promise<ModelSpec>

/** What all routes of one server share. */
export interface ServerState {
  /** Closed by its creator, not by the server. */
  readonly models: ModelPool
  readonly metrics: Metrics
  readonly startedAt: Date
  /** Largest request body, in bytes. */
  readonly maxBodyBytes: number
  /** Milliseconds without an event after which a stream sends a comment, so that proxies keep the connection open. */
  readonly pingMs: number
  /** Milliseconds within which a request must end; `undefined`: no limit. */
  readonly deadlineMs: number | undefined
  /** Requests share cached prompt prefixes only with requests of the same API key. */
  readonly cacheByKey: boolean
  readonly llama: LlamaServerOptions
  /** Finds a model that is not served yet, and downloads it if need be; `undefined`: requests cannot change what is served. */
  readonly findModel: ModelFinder | undefined
  /** Requests need an API key. */
  readonly locked: boolean
}

/**
 * Leases a model for the HTTP request that is being served. The request counts as running until the lease ends.
 * @param signal Ends the wait for the model when aborted; see `ModelPool.lease`, also for the errors.
 */
export const leaseModel = (
  { models }: ServerState,
  name: string | null | undefined,
  signal?: AbortSignal,
): Promise<ModelLease> => models.lease(name, { signal, watch: currentRequest() })

/** The model name in the examples of the API description. */
export const exampleModel = ({ models }: ServerState): string => models.models[0]?.name ?? "model"
