import type { BlockPool } from "./blocks.ts"
import { EventQueue } from "./event-queue.ts"
import { Sequence } from "./sequence.ts"
import type { GenerateRequest } from "./types.ts"

/** A request in flight: its choices, and their events. */
export class ActiveRequest {
  readonly events: EventQueue
  readonly choices: readonly Sequence[]
  readonly submitted = performance.now()
  /** When the first of its choices began to run. */
  started: number | undefined
  /** Its prompt was computed once: its other choices find it in the cache. */
  prompt_done = false

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
    this.events = new EventQueue(n)
    this.choices = Array.from({ length: n }, (_, i) => new Sequence(this, i, pool, context_length, first_arrival + i))
  }
}
