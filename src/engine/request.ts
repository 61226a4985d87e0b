import type { Clock } from "../async.ts"
import type { BlockPool } from "./blocks.ts"
import { EventQueue } from "./event-queue.ts"
import { Sequence } from "./sequence.ts"
import type { GenerateRequest } from "./types.ts"

/** A request in flight: its choices, and their events. */
export class ActiveRequest {
  readonly events: EventQueue
  readonly choices: readonly Sequence[]
  readonly submitted: number
  /** When the first of its choices began to run. */
  started: number | undefined
  /** Its prompt was computed once: its other choices find it in the cache. */
  promptDone = false

  /**
   * @param contextLength Tokens of prompt and completion at most.
   * @param firstArrival Number of its first choice in the order of arrival; the others' follow.
   */
  constructor(
    readonly request: GenerateRequest,
    readonly clock: Clock,
    pool: BlockPool,
    contextLength: number,
    firstArrival: number,
  ) {
    const n = request.n ?? 1
    this.submitted = clock.now()
    this.events = new EventQueue(n)
    this.choices = Array.from({ length: n }, (_, i) => new Sequence(this, i, pool, contextLength, firstArrival + i))
  }
}
