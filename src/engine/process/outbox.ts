import type { EngineEvent, EngineStats, TokenLogprobs } from "../types.ts"
import type { StepMessage } from "./protocol.ts"
import { toWire } from "./wire-error.ts"

/** Collects the events of all requests from one step, and posts them as one message. */
export class Outbox {
  #tokens: number[] = []
  #logprobs: (TokenLogprobs | undefined)[] = []
  #hasLogprobs = false
  #progress: NonNullable<StepMessage["progress"]> = []
  #ends: StepMessage["ends"] = []
  #failures: StepMessage["failures"] = []
  #fault: unknown
  #scheduled = false

  /** @param status Fields of every message besides the events. */
  constructor(
    readonly post: (message: StepMessage) => void,
    readonly status: () => { received: number; stats: EngineStats },
  ) {}

  add(handle: number, event: EngineEvent): void {
    if (event.type === "token") {
      this.#tokens.push(handle, event.index, event.token)
      this.#logprobs.push(event.logprobs)
      this.#hasLogprobs ||= event.logprobs !== undefined
    } else if (event.type === "progress") {
      const { processed, cached } = event
      this.#progress.push({ handle, processed, cached })
    } else {
      const { type: _, ...end } = event
      this.#ends.push({ handle, ...end })
    }
    this.#schedule()
  }

  fail(handle: number, error: unknown): void {
    this.#failures.push({ handle, error: toWire(error) })
    this.#schedule()
  }

  /** Reports that the engine is broken, and all its requests with it. */
  fault(error: unknown): void {
    this.#fault ??= error
    this.#schedule()
  }

  /** Posts the collected events, or the status alone. */
  flush(): void {
    this.post({
      type: "step",
      ...this.status(),
      tokens: Int32Array.from(this.#tokens),
      ...(this.#hasLogprobs && { logprobs: this.#logprobs }),
      ...(this.#progress.length > 0 && { progress: this.#progress }),
      ends: this.#ends,
      failures: this.#failures,
      ...(this.#fault !== undefined && { fault: toWire(this.#fault) }),
    })
    this.#tokens = []
    this.#logprobs = []
    this.#hasLogprobs = false
    this.#progress = []
    this.#ends = []
    this.#failures = []
  }

  /** Posts on the next tick: all requests have then read their events (in microtasks), and the next step has not begun. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(() => {
      this.#scheduled = false
      this.flush()
    })
  }
}
