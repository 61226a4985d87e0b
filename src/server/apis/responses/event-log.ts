import type { ResponseEvent } from "./schema.ts"

/** The events of a background response. A reader can disconnect and come back. */
export class EventLog {
  readonly #events: ResponseEvent[] = []
  #over = false
  #more = Promise.withResolvers<void>()

  push(event: ResponseEvent): void {
    this.#events.push(event)
    this.#wake()
  }

  /** No more events follow. */
  end(): void {
    this.#over = true
    this.#wake()
  }

  /**
   * All events in order, including future ones, until the log ends or the signal fires.
   * @param after Only the events after this number.
   */
  async *follow(signal: AbortSignal, after = -1): AsyncGenerator<ResponseEvent, void, void> {
    const left = Promise.withResolvers<void>()
    signal.addEventListener("abort", () => left.resolve(), { once: true })
    for (let next = after + 1; !signal.aborted; ) {
      const event = this.#events[next]
      if (event !== undefined) {
        next++
        yield event
      } else if (this.#over) return
      else await Promise.race([this.#more.promise, left.promise])
    }
  }

  #wake(): void {
    this.#more.resolve()
    this.#more = Promise.withResolvers()
  }
}
