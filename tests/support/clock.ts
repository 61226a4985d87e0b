/** A clock that stands still until a test turns it. */

import { type Clock, nextTurn, type Timer } from "../../src/async.ts"

class FakeTimer implements Timer {
  /** Whether a real timer would keep the process alive. */
  isRef = true

  constructor(
    readonly at: number,
    readonly work: () => void,
  ) {}

  unref(): void {
    this.isRef = false
  }
}

export class FakeClock implements Clock {
  #now: number
  /** Timers that have not fired, in the order in which they were started. */
  #timers: FakeTimer[] = []

  constructor(now = 1000) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  setTimeout(work: () => void, ms: number): Timer {
    const timer = new FakeTimer(this.#now + Math.max(0, ms), work)
    this.#timers.push(timer)
    return timer
  }

  clearTimeout(timer: Timer | undefined): void {
    this.#timers = this.#timers.filter((other) => other !== timer)
  }

  /** Milliseconds left on each timer, in the order in which they fire. */
  get waits(): number[] {
    return this.#timers.map(({ at }) => at - this.#now).sort((a, b) => a - b)
  }

  /** Whether a timer keeps the process alive. */
  get keepsAlive(): boolean {
    return this.#timers.some(({ isRef }) => isRef)
  }

  /**
   * Advances the clock by `ms` milliseconds. Due timers fire in order, each at its own time. Promises settled by a timer are
   * handled before the next timer fires, so timers that they start can fire in the same call.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (let due = this.#next(end); due; due = this.#next(end)) {
      this.#now = due.at
      this.clearTimeout(due)
      due.work()
      await nextTurn()
    }
    this.#now = end
    await nextTurn()
  }

  /** The timer that fires first, if it fires at or before `end`. */
  #next(end: number): FakeTimer | undefined {
    const due = this.#timers.filter(({ at }) => at <= end)
    return due.reduce<FakeTimer | undefined>(
      (first, timer) => (first && first.at <= timer.at ? first : timer),
      undefined,
    )
  }
}
