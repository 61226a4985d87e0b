import type { TextEvent, TextRequest } from "../../engine/text.ts"
import type { ModelMetrics } from "./metrics.ts"
import { currentRequest, type RequestRecord } from "./record.ts"

/** Feeds the events of one engine request to the metrics, the log and the trace of its HTTP request. */
export class GenerationWatch {
  /** The request to send to the engine. Its id starts with the HTTP request's id, so that a log search finds both. */
  readonly request: TextRequest
  readonly #record: RequestRecord | undefined
  readonly #metrics: ModelMetrics | undefined
  readonly #startedAt = performance.now()
  /** Time of each choice's last token, in milliseconds; 0 before the first token. */
  readonly #lastAt: Float64Array
  /** Choices that have not ended. */
  #open: number
  /** The prompt's tokens are counted. */
  #promptCounted = false

  constructor(model: string, request: TextRequest) {
    const record = currentRequest()
    const n = request.n ?? 1
    this.#record = record
    this.#metrics = record?.observers.metrics.of(model)
    this.#lastAt = new Float64Array(n)
    this.#open = n
    this.request = record === undefined ? request : { ...request, id: `${record.id}/${request.id}` }
  }

  event(event: TextEvent): void {
    const metrics = this.#metrics
    if (metrics === undefined) return
    const now = performance.now()
    if (event.type === "text") {
      if (event.token === undefined) return
      const last = this.#lastAt[event.index] ?? 0
      this.#lastAt[event.index] = now
      if (last !== 0) metrics.interToken((now - last) / 1000)
      else {
        metrics.firstToken((now - this.#startedAt) / 1000)
        this.#record?.firstToken()
      }
      return
    }
    this.#open--
    const { reason, usage } = event
    metrics.ended(reason === "cancelled" ? "abort" : reason, {
      seconds: (now - this.#startedAt) / 1000,
      promptTokens: usage.promptTokens,
      completionTokens: usage.completionTokens,
      prefillSeconds: usage.prefillMs / 1000,
      decodeSeconds: usage.decodeMs / 1000,
    })
    const record = this.#record
    if (record === undefined) return
    // All choices share one prompt.
    if (!this.#promptCounted) record.promptTokens += usage.promptTokens
    this.#promptCounted = true
    record.completionTokens += usage.completionTokens
  }

  /** The engine failed or refused the request: counts every choice that has not ended as failed. */
  failed(): void {
    for (; this.#open > 0; this.#open--) this.#metrics?.failed()
  }
}
