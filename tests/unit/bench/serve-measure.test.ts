/** The statistics of `tests/bench/serve.ts`. */

import { expect, test } from "bun:test"
import fc from "fast-check"
import { growth } from "../../bench/serve/flood.ts"
import { firstPiece, gaps, latency, type Outcome, percentile, summarize } from "../../bench/serve/measure.ts"
import { poissonArrivals, randomPrompt } from "../../bench/serve/random.ts"

const record = (due: number, pieces: number[], outcome: Outcome = "served", more = {}) => ({
  due,
  pieces,
  end: pieces.at(-1) ?? due,
  outcome,
  status: 200,
  tokens: pieces.length,
  cached: 0,
  text: "",
  retries: 0,
  ...more,
})

test("percentiles are nearest ranks", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => 100 - i)
  expect(latency(hundred)).toEqual({ p50: 50, p95: 95, p99: 99, max: 100 })
  expect(percentile([3], 0.99)).toBe(3)
  expect(percentile([1, 9], 0.5)).toBe(1)
  expect(percentile([1, 9], 0.51)).toBe(9)
  expect(percentile([5, 2], 0)).toBe(2)
  expect(percentile([], 0.5)).toBeNaN()
})

test("a percentile is the smallest value with at least its share of the values at or below it", () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ noNaN: true }), { minLength: 1 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, share) => {
        const found = percentile(values, share)
        expect(values).toContain(found)
        expect(values.filter((each) => each <= found).length).toBeGreaterThanOrEqual(share * values.length - 1e-9)
        expect(values.filter((each) => each < found).length).toBeLessThan(Math.max(1, share * values.length + 1e-9))
      },
    ),
  )
})

test("the first token's time starts when the request was due, the others' at the previous token", () => {
  const late = record(100, [150, 160, 185])
  expect(firstPiece(late)).toBe(50)
  expect(firstPiece(record(100, []))).toBeUndefined()
  expect(gaps(late)).toEqual([10, 25])
  expect(gaps(late, (before) => before >= 160)).toEqual([25])
  expect(gaps(late, (_, at) => at < 185)).toEqual([10])
})

test("the rate of a run is all tokens over the time from the first due time to the last end", () => {
  const report = summarize([
    record(1000, [1100, 1110, 1130], "served", { tokens: 5 }),
    record(1500, [1600, 2900], "served", { end: 3000, retries: 2 }),
    record(1200, [], "refused", { tokens: 0 }),
    record(1200, [1250], "lost", { tokens: 1, reason: "gone" }),
    record(1300, [], "lost", { tokens: 0, reason: "gone" }),
  ])
  expect(report).toMatchObject({ requests: 5, served: 2, refused: 1, lost: 2, retries: 2, reasons: ["gone"] })
  expect(report).toMatchObject({ seconds: 2, tokens: 8, tokens_per_second: 4 })
  expect(report.ttft_ms).toEqual({ p50: 100, p95: 100, p99: 100, max: 100 })
  expect(report.itl_ms).toEqual({ p50: 20, p95: 1300, p99: 1300, max: 1300 })
})

test("an empty run does not divide by zero", () => {
  expect(summarize([])).toMatchObject({ requests: 0, seconds: 0, tokens_per_second: 0 })
})

test("arrivals of a Poisson process have the given rate and exponential gaps, and repeat for a seed", () => {
  const arrivals = poissonArrivals(20_000, 50, 7)
  const between = arrivals.slice(1).map((at, i) => at - (arrivals[i] ?? 0))
  const mean = between.reduce((sum, each) => sum + each, 0) / between.length
  const deviation = Math.sqrt(between.reduce((sum, each) => sum + (each - mean) ** 2, 0) / between.length)
  expect(mean).toBeCloseTo(20, 0)
  expect(deviation / mean).toBeCloseTo(1, 1)
  expect(between.filter((each) => each > 20).length / between.length).toBeCloseTo(Math.exp(-1), 1)
  expect(Math.min(...between)).toBeGreaterThanOrEqual(0)
  expect(arrivals[0]).toBe(0)
  expect(poissonArrivals(5, 50, 7)).toEqual(arrivals.slice(0, 5))
  expect(poissonArrivals(5, 50, 8)).not.toEqual(arrivals.slice(0, 5))
})

test("prompts have the given length, known ids, and no common prefix", () => {
  const prompts = Array.from({ length: 200 }, (_, seed) => randomPrompt(64, seed, 32_000))
  for (const prompt of prompts) expect(prompt).toHaveLength(64)
  expect(Math.min(...prompts.flat())).toBeGreaterThanOrEqual(1000)
  expect(Math.max(...prompts.flat())).toBeLessThan(32_000)
  expect(new Set(prompts.map((prompt) => prompt.slice(0, 2).join())).size).toBe(200)
  expect(randomPrompt(64, 3, 32_000)).toEqual(prompts[3] as number[])
})

test("growth compares the end with the time after the warm-up", () => {
  const samples = [10, 50, ...Array.from({ length: 18 }, () => 100)]
  expect(growth(samples)).toBe(1)
  expect(growth(samples.map((each, i) => (i >= 16 ? each * 1.5 : each)))).toBeCloseTo(1.5)
  expect(growth([1, 2, 3])).toBeUndefined()
})
