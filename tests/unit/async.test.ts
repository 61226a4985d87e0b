import { expect, test } from "bun:test"
import { every, LONGEST_TIMER_MS, realClock } from "../../src/async.ts"
import { FakeClock } from "../support/clock.ts"

test("timers of a fake clock fire in order, each at its own time", async () => {
  const clock = new FakeClock()
  const start = clock.now()
  const fired: [string, number][] = []
  const note = (name: string) => () => void fired.push([name, clock.now() - start])
  clock.setTimeout(note("late"), 20)
  clock.setTimeout(note("first"), 10)
  clock.setTimeout(note("second"), 10)
  clock.clearTimeout(clock.setTimeout(note("stopped"), 5))
  expect(clock.waits).toEqual([10, 10, 20])
  await clock.advance(19)
  expect(fired).toEqual([
    ["first", 10],
    ["second", 10],
  ])
  expect(clock.now() - start).toBe(19)
  await clock.advance(1)
  expect(fired.at(-1)).toEqual(["late", 20])
  expect(clock.waits).toEqual([])
})

test("timers that a promise starts after a timer of a fake clock fire in the same advance", async () => {
  const clock = new FakeClock()
  let fired = 0
  const wait = (ms: number) => new Promise<void>((resolve) => clock.setTimeout(resolve, ms))
  const waits = (async () => {
    for (let i = 0; i < 3; i++) {
      await wait(10)
      fired++
    }
  })()
  await clock.advance(25)
  expect(fired).toBe(2)
  await clock.advance(5)
  await waits
  expect(fired).toBe(3)
})

test("an unreferenced timer of a fake clock does not keep the process alive", () => {
  const clock = new FakeClock()
  clock.setTimeout(() => {}, 1).unref()
  expect(clock.keepsAlive).toBe(false)
  clock.setTimeout(() => {}, 1)
  expect(clock.keepsAlive).toBe(true)
})

test("periodic work can stop itself", async () => {
  const clock = new FakeClock()
  let n = 0
  const stop = every(clock, 10, () => {
    if (++n === 3) stop()
  })
  await clock.advance(29)
  expect(n).toBe(2)
  await clock.advance(100)
  expect(n).toBe(3)
  expect(clock.waits).toEqual([])
})

test("the real clock waits, stops, and accepts a time longer than a timer can wait", async () => {
  const stopped = realClock.setTimeout(() => expect.unreachable(), 0)
  realClock.clearTimeout(stopped)
  realClock.clearTimeout(undefined)
  const long = realClock.setTimeout(() => expect.unreachable(), 2 * LONGEST_TIMER_MS)
  const before = realClock.now()
  await new Promise<void>((resolve) => realClock.setTimeout(resolve, 1))
  expect(realClock.now()).toBeGreaterThan(before)
  realClock.clearTimeout(long)
})
