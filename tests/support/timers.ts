/** Makes waits of a known length end at once in a test. */

import { spyOn } from "bun:test"

/**
 * Makes every `setTimeout` of exactly `ms` fire at once; other timers are not changed. Returns the shortened waits, one entry for
 * each. Disposing of the result restores `setTimeout`.
 */
export function skipWaitsOf(ms: number): { readonly waits: number[] } & Disposable {
  const { setTimeout } = globalThis
  const waits: number[] = []
  const cut = (run: () => void, wait = 0, ...rest: unknown[]) => {
    if (wait !== ms) return setTimeout(run, wait, ...rest)
    waits.push(wait)
    return setTimeout(run, 0, ...rest)
  }
  const spy = spyOn(globalThis, "setTimeout").mockImplementation(cut as typeof setTimeout)
  return { waits, [Symbol.dispose]: () => spy.mockRestore() }
}
