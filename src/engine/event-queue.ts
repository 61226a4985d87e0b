/** The event queue and the deadline of a request, for both kinds of engine. */

import type { Clock, Timer } from "../async.ts"
import { OverloadedError } from "../errors.ts"
import type { EngineEvent, GenerateRequest } from "./types.ts"

/** The events of one request, from the engine to its consumer. */
export class EventQueue {
  readonly #events: EngineEvent[] = []
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /** @param nEnds Number of `end` events: one for each sequence. */
  constructor(readonly nEnds: number) {}

  get failed(): boolean {
    return this.#failure !== undefined
  }

  push(event: EngineEvent): void {
    this.#events.push(event)
    this.#wake?.()
  }

  /** Ends the queue with an error. Only the first call counts. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** Yields the events up to the last `end`. @throws the error of `fail`, after the events before it. */
  async *read(): AsyncGenerator<EngineEvent, void, void> {
    for (let left = this.nEnds; left > 0; ) {
      const event = this.#events.shift()
      if (event) {
        yield event
        if (event.type === "end") left--
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

/** Calls `onLate` with the error when the request's deadline passes. @returns the timer to clear when the request ends before it. */
export function startDeadline(
  clock: Clock,
  { deadlineMs }: GenerateRequest,
  retryAfter: () => number,
  onLate: (error: OverloadedError) => void,
): Timer | undefined {
  if (deadlineMs === undefined) return undefined
  const message = `the request did not end within its ${deadlineMs} ms`
  return clock.setTimeout(() => onLate(new OverloadedError(message, "deadline", retryAfter())), deadlineMs)
}
