import type { BlockPool } from "./kv-cache.ts"
import { Sequence } from "./sequence.ts"
import type { EngineEvent, GenerateRequest } from "./types.ts"

/** A request in flight: its choices, and the queue of their events that its consumer reads. */
export class ActiveRequest {
  readonly choices: readonly Sequence[]
  readonly submitted = performance.now()
  /** When the first of its choices began to run. */
  started: number | undefined
  /** Its prompt was computed once: its other choices find it in the cache. */
  prompt_done = false

  readonly #events: EngineEvent[] = []
  #n_ends = 0
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /**
   * @param context_length Tokens of prompt and completion at most.
   * @param first_arrival Number of its first choice in the order of arrival; the others' follow.
   */
  constructor(
    readonly request: GenerateRequest,
    pool: BlockPool,
    context_length: number,
    first_arrival: number,
  ) {
    const n = request.n ?? 1
    this.choices = Array.from({ length: n }, (_, i) => new Sequence(this, i, pool, context_length, first_arrival + i))
  }

  push(event: EngineEvent): void {
    this.#events.push(event)
    this.#wake?.()
  }

  /** Ends the request with an error in place of the `end`s that have not come. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** The events as they come, up to the last choice's `end`. @throws what `fail` was given, once the events before it are read. */
  async *events(): AsyncGenerator<EngineEvent, void, void> {
    for (;;) {
      const event = this.#events.shift()
      if (event) {
        yield event
        if (event.type === "end" && ++this.#n_ends === this.choices.length) return
      } else if (this.#failure) {
        throw this.#failure
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }
}
