/**
 * SAMPLE's chain: typical-p, top-n-sigma, XTC, dynamic temperature, Mirostat, min_keep, and the temperature after the limits. Each case
 * is drawn from with seeds, and each draw is the one that float64 gives.
 */

import { expect, test } from "bun:test"
import { normals, Random } from "../support/kernel-data.ts"
import { openSampler, sampleOne, sampleRows } from "../support/kernel-sampling.ts"
import type { OutputSpec } from "../support/kernel-step.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"
import { chainOf, drawn, uniforms } from "../support/sample-chain.ts"

/** Rows of a step. */
const DRAWS = 128
/** Draws nearer to the border between two tokens, as a share of the probability, may fall to either. */
const BORDER = 1e-5

/** Draws many times and compares each with the reference. @returns the tokens that came. */
function expectDraws(run: ReturnType<typeof openSampler>, logits: Float32Array, spec: OutputSpec): Set<number> {
  const tiled = new Float32Array(DRAWS * logits.length)
  for (let row = 0; row < DRAWS; row++) tiled.set(logits, row * logits.length)
  const seed = 0x1234_5678_9abcn
  const outputs = Array.from({ length: DRAWS }, (_, counter) => ({ temperature: 1, ...spec, seed, counter }))
  const results = sampleRows(run, tiled, outputs)
  const chains = new Map<boolean, ReturnType<typeof chainOf>>()
  for (const [counter, { token, surprise }] of results.entries()) {
    const u = uniforms(seed, counter)
    const xtc = u.xtc < (spec.xtc_probability ?? 0)
    const chain = chains.get(xtc) ?? chainOf(logits, spec, u.xtc)
    chains.set(xtc, chain)
    const want = drawn(chain.probabilities, u.draw)
    if (want.margin > BORDER) expect(token).toBe(want.token)
    else expect(chain.kept).toContain(token)
    if (spec.mirostat) expect(surprise).toBeCloseTo(-Math.log2(chain.probabilities[token] as number), 3)
    else expect(surprise).toBe(0)
  }
  return new Set(results.map(({ token }) => token))
}

const CASES: readonly (readonly [string, OutputSpec])[] = [
  ["typical-p 0.2", { typical_p: 0.2 }],
  ["typical-p 0.9", { typical_p: 0.9 }],
  ["typical-p 0 keeps the most typical", { typical_p: 0 }],
  ["typical-p 0.5 at temperature 2", { typical_p: 0.5, temperature: 2 }],
  ["typical-p 0.5 under top-k 20", { typical_p: 0.5, top_k: 20 }],
  ["typical-p 0.6, then top-p 0.7 and min-p 0.1", { typical_p: 0.6, top_p: 0.7, min_p: 0.1 }],
  ["top-n-sigma 0.5", { top_n_sigma: 0.5 }],
  ["top-n-sigma 1", { top_n_sigma: 1 }],
  ["top-n-sigma 2 at temperature 3", { top_n_sigma: 2, temperature: 3 }],
  ["top-n-sigma 1.5 under top-k 4", { top_n_sigma: 1.5, top_k: 4 }],
  ["top-n-sigma 1.5, top-p 0.8", { top_n_sigma: 1.5, top_p: 0.8 }],
  ["XTC always, from 0.02", { xtc_probability: 1, xtc_threshold: 0.02 }],
  ["XTC half of the time, from 0.05", { xtc_probability: 0.5, xtc_threshold: 0.05 }],
  ["XTC above 0.5 drops nothing", { xtc_probability: 1, xtc_threshold: 0.6 }],
  ["XTC from 0 keeps the least probable", { xtc_probability: 1, xtc_threshold: 0 }],
  ["XTC leaves min_keep tokens", { xtc_probability: 1, xtc_threshold: 0.05, top_k: 4, min_keep: 3 }],
  ["XTC under top-k 8 and min-p 0.05", { xtc_probability: 1, xtc_threshold: 0.03, top_k: 8, min_p: 0.05 }],
  ["dynamic temperature 1 ± 0.7", { dynatemp_range: 0.7 }],
  ["dynamic temperature 0.5 ± 1, exponent 2", { temperature: 0.5, dynatemp_range: 1, dynatemp_exponent: 2 }],
  ["dynamic temperature with exponent 0 is the highest", { dynatemp_range: 0.5, dynatemp_exponent: 0 }],
  ["dynamic temperature, last", { temperature: 0.8, dynatemp_range: 0.6, temperature_last: 1, top_k: 12 }],
  ["dynamic temperature under top-p 0.9", { dynatemp_range: 0.5, top_p: 0.9 }],
  ["temperature 2 after top-p 0.8", { temperature: 2, temperature_last: 1, top_p: 0.8 }],
  ["temperature 0.3 after min-p 0.1", { temperature: 0.3, temperature_last: 1, min_p: 0.1 }],
  ["temperature 0.05 after XTC", { temperature: 0.05, temperature_last: 1, xtc_probability: 1, xtc_threshold: 0.02 }],
  ["temperature 0.1 before XTC of what is left", { temperature: 0.1, xtc_probability: 1, xtc_threshold: 1e-7 }],
  [
    "all limits, temperature last",
    {
      ...{ temperature: 1.3, temperature_last: 1, top_k: 40, top_p: 0.95, min_p: 0.02, typical_p: 0.97 },
      ...{ top_n_sigma: 3, xtc_probability: 0.5, xtc_threshold: 0.1 },
    },
  ],
  ["min_keep 5 under top-p 0.1", { top_p: 0.1, min_keep: 5 }],
  ["min_keep 5 under min-p 0.9", { min_p: 0.9, min_keep: 5 }],
  ["min_keep 5 under typical-p 0.01", { typical_p: 0.01, min_keep: 5 }],
  ["min_keep of more tokens than there are", { top_p: 0.5, min_keep: 1_000_000 }],
  ["Mirostat 2, mu 3", { mirostat: 2, mirostat_mu: 3 }],
  ["Mirostat 2, mu 10 at temperature 0.7", { mirostat: 2, mirostat_mu: 10, temperature: 0.7 }],
  ["Mirostat 2 keeps one token below every surprise", { mirostat: 2, mirostat_mu: -5 }],
  ["Mirostat 2 ignores the other limits", { mirostat: 2, mirostat_mu: 6, top_k: 1, top_p: 0.1, typical_p: 0.1 }],
  ["Mirostat 1, mu 3", { mirostat: 1, mirostat_mu: 3 }],
  ["Mirostat 1, mu 8 at temperature 1.5", { mirostat: 1, mirostat_mu: 8, temperature: 1.5 }],
  ["Mirostat 1, a great mu", { mirostat: 1, mirostat_mu: 60 }],
]

onEveryBackend("SAMPLE, chain", (backend) => {
  for (const [name, spec] of CASES) {
    test(`${name}: the draws of float64`, () => {
      for (const vocab of [6, 257, 5000]) {
        using run = openSampler(backend, vocab)
        expectDraws(run, normals(vocab, vocab + 1, 2.5), spec)
      }
    })
  }

  test("ties are kept and dropped by their ids", () => {
    using run = openSampler(backend, 64)
    const flat = new Float32Array(64).fill(1.5)
    expect([...expectDraws(run, flat, { typical_p: 0.1 })].every((token) => token < 7)).toBe(true)
    expect([...expectDraws(run, flat, { xtc_probability: 1, xtc_threshold: 0.01 })]).toEqual([63])
    expectDraws(run, flat, { top_n_sigma: 1, top_k: 9 })
    expect([...expectDraws(run, flat, { top_n_sigma: 1, top_k: 9, top_p: 0.01, min_keep: 2 })].sort()).toEqual([0, 1])
    expectDraws(run, flat, { mirostat: 2, mirostat_mu: 6 })
    const steps = Float32Array.from({ length: 64 }, (_, i) => Math.floor(i / 4) / 2)
    for (const spec of [{ typical_p: 0.33 }, { top_n_sigma: 0.7 }, { mirostat: 1, mirostat_mu: 4 }])
      expectDraws(run, steps, spec)
    for (const top_p of [0.31, 0.57]) expectDraws(run, steps, { top_p, temperature: 3, temperature_last: 1 })
  })

  test("excluded tokens count nowhere", () => {
    using run = openSampler(backend, 40)
    const logits = normals(40, 8, 2).map((x, i) => (i % 3 === 0 ? Number.NEGATIVE_INFINITY : x))
    for (const spec of [
      { typical_p: 0.5 },
      { top_n_sigma: 1 },
      { dynatemp_range: 0.8 },
      { xtc_probability: 1, xtc_threshold: 0.02 },
      { mirostat: 2, mirostat_mu: 4 },
      { top_p: 0.9, min_keep: 100 },
    ])
      expectDraws(run, Float32Array.from(logits), spec)
  })

  test("a mask and biases come before the limits", () => {
    using run = openSampler(backend, 8)
    const logits = [9, 8, 3, 2.5, 2, 1, 0, -1]
    const mask = Uint32Array.of(0b1111_1100)
    const adjusted = logits.map((x, i) => (i < 2 ? Number.NEGATIVE_INFINITY : i === 7 ? x + 5 : x))
    for (const [counter, spec] of [
      { typical_p: 0.6 },
      { top_n_sigma: 0.8 },
      { mirostat: 2, mirostat_mu: 2 },
    ].entries()) {
      const output = { temperature: 1, seed: 5n, counter, ...spec }
      const want = drawn(chainOf(adjusted, spec, 1).probabilities, uniforms(5n, counter).draw)
      expect(sampleOne(run, logits, { ...output, mask, biases: [[7, 5]] }).token).toBe(want.token)
    }
  })

  test("one candidate is always drawn", () => {
    using run = openSampler(backend, 33)
    const logits = new Float32Array(33).fill(Number.NEGATIVE_INFINITY)
    logits[20] = -4
    for (const [, spec] of CASES) expect(sampleOne(run, logits, { temperature: 1, ...spec }).token).toBe(20)
  })

  test("temperature 0 and top-k 1 stay greedy, NaN and no candidates give -1", () => {
    using run = openSampler(backend, 50)
    const logits = normals(50, 2)
    const best = logits.indexOf(Math.max(...logits))
    const broken = Float32Array.from(logits)
    broken[9] = Number.NaN
    const empty = new Float32Array(50).fill(Number.NEGATIVE_INFINITY)
    for (const [, spec] of CASES) {
      expect(sampleOne(run, logits, { ...spec, temperature: 0 }).token).toBe(best)
      if (!spec.mirostat) expect(sampleOne(run, logits, { ...spec, temperature: 1, top_k: 1 }).token).toBe(best)
      for (const none of [broken, empty]) expect(sampleOne(run, none, { temperature: 1, ...spec }).token).toBe(-1)
    }
  })

  test("log-probabilities are those of the model's own distribution", () => {
    using run = openSampler(backend, 50)
    const logits = normals(50, 6, 2)
    const total = Math.log(logits.reduce((all, x) => all + Math.exp(x), 0))
    const { token, logprob, top } = sampleOne(run, logits, { temperature: 1, typical_p: 0.5, n_top: 3 })
    expect(logprob).toBeCloseTo((logits[token] as number) - total, 4)
    expect(top.length).toBe(3)
  })
})

/** A draw on a border may differ between backends, because they add in different orders. */
onEveryBackend("SAMPLE, chain, as on the CPU", (backend) => {
  if (backend === "cpu") return
  for (const [vocab, rows] of [
    [300, 256],
    [32000, 64],
    [151936, 16],
  ] as const) {
    test(`${rows} draws from ${vocab} tokens`, () => {
      const random = new Random(vocab)
      const pick = (values: readonly number[]) => values[random.below(values.length)] as number
      const logits = normals(rows * vocab, 3).map((x, i) => {
        const scaled = x * ([0.5, 1, 2, 5][Math.floor(i / vocab) % 4] as number)
        return Math.floor(i / vocab) % 5 === 0 ? Math.round(scaled) : scaled
      })
      const outputs = Array.from(
        { length: rows },
        (_, counter): OutputSpec => ({
          temperature: pick([0.5, 1, 2]),
          top_k: pick([0, 0, 40]),
          top_p: pick([1, 0.9]),
          min_p: pick([0, 0.05]),
          typical_p: pick([1, 0.5, 0.95]),
          top_n_sigma: pick([0, 1.5]),
          xtc_probability: pick([0, 0.5]),
          dynatemp_range: pick([0, 0.5]),
          temperature_last: pick([0, 1]),
          mirostat: pick([0, 0, 1, 2]),
          mirostat_mu: pick([3, 8]),
          seed: BigInt(random.uint32()),
          counter,
        }),
      )
      using gpu = openSampler(backend, vocab)
      using cpu = openSampler("cpu", vocab)
      const [got, want] = [sampleRows(gpu, logits, outputs), sampleRows(cpu, logits, outputs)]
      const same = got.filter(({ token }, i) => token === want[i]?.token).length
      expect(rows - same).toBeLessThanOrEqual(Math.ceil(rows / 100))
    })
  }
})
