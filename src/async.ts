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

/** Milliseconds of work in one turn of the event loop, after which `pause` waits for the next turn. */
const TURN_MS = 10

/** When work began in this turn; `undefined` before that. */
let begun: number | undefined

/** Await it between short pieces of long work. All callers share one turn's time, so that many of them do not block the event loop. */
export async function pause(): Promise<void> {
  if (begun === undefined) {
    begun = performance.now()
    setImmediate(() => {
      begun = undefined
    })
  } else if (performance.now() - begun > TURN_MS) await nextTurn()
}

/** Await it between long pieces of work. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/**
 * Runs `work` for each item, at most `limit` at a time. The first failure aborts the controller, and is thrown once all others have ended.
 * @returns the results, in the order of the items.
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
