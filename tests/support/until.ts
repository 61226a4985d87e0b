/** Slightly less than the 120 s limit of a test under `npm test`, so that a failure names the condition. */
const UNTIL_MS = 110_000

/** Waits until a condition holds. The limit is that of the test, not a bound on speed. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + UNTIL_MS
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`still false after ${UNTIL_MS / 1000} s: ${condition}`)
    await Bun.sleep(2)
  }
}
