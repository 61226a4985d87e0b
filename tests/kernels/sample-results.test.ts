/** SAMPLE's log-probabilities against float64; its draws, which depend only on (seed, counter) and the logits. */

import { expect, test } from "bun:test"
import { normals, Random } from "../support/kernel-data.ts"
import { openSampler, sampleOne, sampleRows } from "../support/kernel-sampling.ts"
import type { OutputSpec } from "../support/kernel-step.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"

function logProbabilities(logits: Float32Array): Float64Array {
  const most = logits.reduce((a, b) => Math.max(a, b))
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - most), 0)
  return Float64Array.from(logits, (logit) => logit - most - Math.log(sum))
}

/** |got - want| ≤ 1e-5 · (1 + |want|). */
function expectLogprob(got: number, want: number): void {
  if (want === Number.NEGATIVE_INFINITY) expect(got).toBe(want)
  else expect(Math.abs(got - want)).toBeLessThanOrEqual(1e-5 * (1 + Math.abs(want)))
}

onEveryBackend("SAMPLE, log-probabilities", (backend) => {
  for (const vocab of [1, 3, 31, 33, 576, 1000, 49152]) {
    for (const n_top of [0, 1, 5, 20]) {
      test(`${n_top} alternatives of ${vocab} tokens`, () => {
        using run = openSampler(backend, vocab)
        const logits = normals(vocab, vocab, 4)
        const want = logProbabilities(logits)
        const ranked = [...want.keys()].sort((a, b) => (want[b] as number) - (want[a] as number))
        for (const output of [{ n_top }, { n_top, temperature: 1.5, seed: 5n }]) {
          const result = sampleOne(run, logits, output)
          expectLogprob(result.logprob, want[result.token] as number)
          expect(result.top.map((entry) => entry.token)).toEqual(ranked.slice(0, Math.min(n_top, vocab)))
          for (const { token, logprob } of result.top) expectLogprob(logprob, want[token] as number)
        }
      })
    }
  }

  const influences: readonly (readonly [string, OutputSpec])[] = [
    ["temperature", { temperature: 0.3 }],
    [
      "penalties",
      {
        repeat_penalty: 2,
        presence_penalty: 3,
        penalties: [
          [4, 2],
          [9, 1],
        ],
      },
    ],
    ["biases", { biases: [[7, 50]] }],
    ["top-k", { temperature: 1, top_k: 2 }],
    ["a mask", { mask: Uint32Array.of(0b110) }],
  ]
  for (const [name, output] of influences) {
    test(`log-probabilities are those of the model's own distribution, with ${name}`, () => {
      using run = openSampler(backend, 20)
      const logits = normals(20, 3, 2)
      const want = logProbabilities(logits)
      const result = sampleOne(run, logits, { n_top: 20, ...output })
      expectLogprob(result.logprob, want[result.token] as number)
      expect(result.top.length).toBe(20)
      for (const { token, logprob } of result.top) expectLogprob(logprob, want[token] as number)
    })
  }

  test("large logits and -infinity", () => {
    using run = openSampler(backend, 5)
    const logits = Float32Array.of(1e4, 1e4 - 2, Number.NEGATIVE_INFINITY, -1e4, 1e4 - 1)
    const want = logProbabilities(logits)
    const result = sampleOne(run, logits, { n_top: 4 })
    expect(result.top.map((entry) => entry.token)).toEqual([0, 4, 1, 3])
    for (const { token, logprob } of result.top) expectLogprob(logprob, want[token] as number)
  })

  test("each output reports the number of alternatives that it requests", () => {
    using run = openSampler(backend, 50)
    const asked = [-1, 3, 0, 20]
    const results = sampleRows(
      run,
      normals(4 * 50, 8),
      asked.map((n_top) => ({ n_top })),
    )
    expect(results.map((result) => result.top.length)).toEqual([0, 3, 0, 20])
  })
})

onEveryBackend("SAMPLE, reproducible", (backend) => {
  const vocab = 500
  const n = 48
  const logits = normals(n * vocab, 12, 2)
  const rowOf = (i: number) => logits.subarray(i * vocab, i * vocab + vocab)
  const outputs: OutputSpec[] = Array.from({ length: n }, (_, i) => ({
    temperature: [0.7, 1, 1.3][i % 3] as number,
    top_k: i % 4 === 0 ? 40 : 0,
    top_p: i % 5 === 0 ? 0.9 : 1,
    min_p: i % 7 === 0 ? 0.05 : 0,
    seed: BigInt(i % 6),
    counter: i,
  }))
  const together = (nThreads: number) => {
    using run = openSampler(backend, vocab, nThreads)
    return sampleRows(run, logits, outputs).map((result) => result.token)
  }

  test("an output draws alone what it draws among others", () => {
    using run = openSampler(backend, vocab)
    expect(outputs.map((output, i) => sampleOne(run, rowOf(i), output).token)).toEqual(together(2))
  })

  test("the order of the outputs does not matter", () => {
    using run = openSampler(backend, vocab)
    const order = new Random(5).shuffle([...outputs.keys()])
    const shuffled = new Float32Array(n * vocab)
    for (const [place, i] of order.entries()) shuffled.set(rowOf(i), place * vocab)
    const results = sampleRows(
      run,
      shuffled,
      order.map((i) => outputs[i] as OutputSpec),
    )
    const want = together(2)
    expect(results.map((result) => result.token)).toEqual(order.map((i) => want[i] as number))
  })

  test("the number of threads does not matter", () => {
    expect(together(1)).toEqual(together(2))
    expect(together(7)).toEqual(together(2))
  })

  test("requesting log-probabilities does not change the draw", () => {
    using run = openSampler(backend, vocab)
    const results = sampleRows(
      run,
      logits,
      outputs.map((output) => ({ ...output, n_top: 5 })),
    )
    expect(results.map((result) => result.token)).toEqual(together(2))
  })

  test("another seed or counter draws other tokens", () => {
    using run = openSampler(backend, vocab)
    const draw = (change: OutputSpec) =>
      Array.from(
        { length: 64 },
        (_, i) => sampleOne(run, rowOf(0), { temperature: 2, seed: 1n, counter: i, ...change }).token,
      )
    const base = draw({})
    expect(draw({})).toEqual(base)
    expect(draw({ seed: 2n })).not.toEqual(base)
    expect(draw({ seed: 1n + (1n << 32n) })).not.toEqual(base)
    expect(new Set(base).size).toBeGreaterThan(10)
  })
})

/** A draw on the border between two tokens may differ, because backends add in different orders. Such draws are very rare. */
onEveryBackend("SAMPLE, as on the CPU", (backend) => {
  if (backend === "cpu") return
  for (const [vocab, rows] of [
    [300, 256],
    [32000, 64],
    [151936, 16],
    [262144, 8],
  ] as const) {
    test(`${rows} draws from ${vocab} tokens`, () => {
      const random = new Random(vocab)
      const pick = (values: readonly number[]) => values[random.below(values.length)] as number
      // Sharp and flat rows, and rows in which many logits are equal.
      const logits = normals(rows * vocab, 3).map((x, i) => {
        const scaled = x * ([0, 0.5, 2, 5][Math.floor(i / vocab) % 4] as number)
        return Math.floor(i / vocab) % 5 === 0 ? Math.round(scaled) : scaled
      })
      const outputs = Array.from({ length: rows }, (_, counter): OutputSpec => {
        const top_k = pick([0, 0, 2, 40, vocab >> 1])
        const filters = { top_k, top_p: pick([1, 1, 0.5, 0.9, 0.999]), min_p: pick([0, 0, 0.05]) }
        return {
          temperature: pick([0.5, 1, 2]),
          ...filters,
          seed: BigInt(random.uint32()),
          counter,
          n_top: pick([-1, 5]),
        }
      })
      using gpu = openSampler(backend, vocab)
      using cpu = openSampler("cpu", vocab)
      const [got, want] = [sampleRows(gpu, logits, outputs), sampleRows(cpu, logits, outputs)]
      const same = got.filter(({ token }, i) => token === want[i]?.token).length
      expect(rows - same).toBeLessThanOrEqual(Math.floor(rows / 100))
      for (const [i, result] of got.entries())
        expect(result.top.map(({ token }) => token)).toEqual(want[i]?.top.map(({ token }) => token) ?? [])
    })
  }
})
