import type { EngineEvent, EngineStats, TokenLogprobs } from "../types.ts"
import type { StepMessage } from "./protocol.ts"
import { toWire } from "./wire-error.ts"

/** Gathers what all requests got from one step, and posts it as one message. */
export class Outbox {
  #tokens: number[] = []
  #logprobs: (TokenLogprobs | undefined)[] = []
  #hasLogprobs = false
  #ends: StepMessage["ends"] = []
  #failures: StepMessage["failures"] = []
  #fault: unknown
  #scheduled = false

  /** @param status What every message says beside the events. */
  constructor(
    readonly post: (message: StepMessage) => void,
    readonly status: () => { received: number; stats: EngineStats },
  ) {}

  add(handle: number, event: EngineEvent): void {
    if (event.type === "token") {
      this.#tokens.push(handle, event.index, event.token)
      this.#logprobs.push(event.logprobs)
      this.#hasLogprobs ||= event.logprobs !== undefined
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

  /** The engine is broken, and with it all its requests. */
  fault(error: unknown): void {
    this.#fault ??= error
    this.#schedule()
  }

  /** Posts what there is, if only the status. */
  flush(): void {
    this.post({
      type: "step",
      ...this.status(),
      tokens: Int32Array.from(this.#tokens),
      ...(this.#hasLogprobs && { logprobs: this.#logprobs }),
      ends: this.#ends,
      failures: this.#failures,
      ...(this.#fault !== undefined && { fault: toWire(this.#fault) }),
    })
    this.#tokens = []
    this.#logprobs = []
    this.#hasLogprobs = false
    this.#ends = []
    this.#failures = []
  }

  /** A tick comes when every request has taken its events (they do so in microtasks), and before the next step. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    process.nextTick(() => {
      this.#scheduled = false
      this.flush()
    })
  }
}
