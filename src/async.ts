/** Time and the event loop: a clock that tests can replace, long work in pieces, and many pieces of work at a time. */

/** A timer that a {@link Clock} started. */
export interface Timer {
  /** From now on the timer does not keep the process alive. */
  unref(): unknown
}

/** Where a part of the program takes its time from. A test hands in a `FakeClock`, and then needs no sleep. */
export interface Clock {
  /** Milliseconds since a fixed point in time, never going back. Not the time of day. */
  now(): number
  /** Calls `work` once, after `ms` milliseconds or, where that is more, {@link LONGEST_TIMER_MS}. */
  setTimeout(work: () => void, ms: number): Timer
  /** Stops a timer. Does nothing for one that has fired, and for `undefined`. */
  clearTimeout(timer: Timer | undefined): void
}

/** The longest wait of a timer, about 25 days. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1

/** The computer's clock and the event loop's timers. */
export const realClock: Clock = {
  now: () => performance.now(),
  setTimeout: (work, ms) => setTimeout(work, Math.min(ms, LONGEST_TIMER_MS)),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout> | undefined),
}

/** Calls `work` every `ms` milliseconds. @returns a function that stops it. */
export function every(clock: Clock, ms: number, work: () => void): () => void {
  let timer: Timer
  const start = () => {
    timer = clock.setTimeout(() => {
      start()
      work()
    }, ms)
  }
  start()
  return () => clock.clearTimeout(timer)
}

/** Work of one turn of the event loop, in milliseconds, after which the rest waits for the next turn. */
const TURN_MS = 10

/** When work began in this turn; `undefined`: it has not. */
let begun: number | undefined

/**
 * To be awaited between the pieces of work that may take long together. Requests share the turn: where many work in pieces, each piece
 * waits for others.
 */
export async function pause(): Promise<void> {
  if (begun === undefined) {
    begun = performance.now()
    setImmediate(() => {
      begun = undefined
    })
  } else if (performance.now() - begun > TURN_MS) await nextTurn()
}

/** To be awaited between pieces that are long by themselves. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Does the work of each item, at most `limit` at a time. The first failure aborts the controller, and is thrown when all others have ended.
 * @returns what each gave, in the items' order.
 */
export async function sideBySide<T, R>(
  items: readonly T[],
  limit: number,
  controller: AbortController,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const run = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index] as T, index)
  }
  const runs = Array.from({ length: Math.min(items.length, limit) }, run)
  try {
    await Promise.all(runs)
  } catch (error) {
    controller.abort()
    await Promise.allSettled(runs)
    throw error
  }
  return results
}
