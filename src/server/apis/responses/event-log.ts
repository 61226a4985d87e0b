import type { ResponseEvent } from "./schema.ts"

/** The events of a response that is made in the background: whoever reads along can leave, and come back. */
export class EventLog {
  readonly #events: ResponseEvent[] = []
  #over = false
  #more = Promise.withResolvers<void>()

  push(event: ResponseEvent): void {
    this.#events.push(event)
    this.#wake()
  }

  /** There will be no more. */
  end(): void {
    this.#over = true
    this.#wake()
  }

  /**
   * The events, from the first to the last; those to come are waited for, unless the signal fires.
   * @param after Only those behind the one of this number.
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
