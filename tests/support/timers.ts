/** Timers of a test: waits of a known length end at once. */

import { spyOn } from "bun:test"

/**
 * Makes every `setTimeout` of exactly `ms` fire at once; all other timers run as they are. Returns the waits that were cut short, one
 * entry for each; disposing of it ends the effect.
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
