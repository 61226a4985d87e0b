/** What every request has, wherever its engine runs: a queue of events, and a deadline. */

import type { Clock, Timer } from "../async.ts"
import { OverloadedError } from "../errors.ts"
import type { EngineEvent, GenerateRequest } from "./types.ts"

/** The events of one request, from the engine to the one consumer that reads them. */
export class EventQueue {
  readonly #events: EngineEvent[] = []
  #failure: Error | undefined
  #wake: (() => void) | undefined

  /** @param nEnds Choices, each of which has one `end`. */
  constructor(readonly nEnds: number) {}

  get failed(): boolean {
    return this.#failure !== undefined
  }

  push(event: EngineEvent): void {
    this.#events.push(event)
    this.#wake?.()
  }

  /** Puts an error in place of the ends that have not come; the first one counts. */
  fail(error: Error): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** The events as they come, up to the last `end`. @throws what `fail` was given, once the events before it are read. */
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
