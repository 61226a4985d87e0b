/**
 * SAMPLE: greedy choice, and chi-square tests of draws against the float64 distribution. The order of the steps is: penalties and
 * biases on the logits, mask, temperature, top-k, top-p, min-p.
 */

import { expect, test } from "bun:test"
import { normals, Random } from "../support/kernel-data.ts"
import {
  countDraws,
  expectDistribution,
  keepOnly,
  openSampler,
  probabilitiesOf,
  sampleOne,
  sampleRows,
  scrambled,
} from "../support/kernel-sampling.ts"
import type { OutputSpec } from "../support/kernel-step.ts"
import { type KernelCase, kernelCases, onEveryBackend } from "../support/kernel-suite.ts"

const DRAWS = 20_000
const minus = Number.NEGATIVE_INFINITY

function argmax(values: ArrayLike<number>): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best
}

/** A step of `outputs` rows, for the bench only. */
const steps = [1, 8].flatMap((outputs) =>
  [1000, 49152].flatMap((vocab) =>
    (
      [
        ["greedy", {}],
        ["temperature", { temperature: 0.8 }],
        ["top-k 40, top-p 0.95", { temperature: 0.8, top_k: 40, top_p: 0.95 }],
      ] as const
    ).map(([name, output]): KernelCase => {
      const shape = `${outputs} × ${vocab}, ${name}`
      const logits = normals(outputs * vocab, vocab, 3)
      const make = (): ReturnType<KernelCase["make"]> => ({
        program: {
          buffers: [{ rows: "outputs", width: vocab }],
          ops: [{ kind: "SAMPLE", buf: [0], dim: [vocab] }],
        },
        inputs: [[0, logits]],
        step: (run) => ({
          ...run.rows(outputs),
          outputs: Array.from({ length: outputs }, (_, row) => ({ row, ...output })),
        }),
        check: (_run, results) => {
          for (const [row, { token }] of results.entries()) {
            const own = logits.subarray(row * vocab, row * vocab + vocab)
            if (name === "greedy") expect(token).toBe(argmax(own))
            else expect(own[token]).toBeGreaterThan(0)
          }
        },
        work: { bytes: 4 * outputs * vocab, flops: 0 },
      })
      return { name: shape, shape, make }
    }),
  ),
)
kernelCases("SAMPLE", "SAMPLE", steps)

onEveryBackend("SAMPLE, greedy", (backend) => {
  for (const vocab of [1, 3, 31, 33, 576, 1000, 49152, 151936]) {
    test(`the largest of ${vocab} logits, wherever it lies`, () => {
      using run = openSampler(backend, vocab)
      const places = [...new Set([0, vocab >> 1, vocab - 1])]
      for (const place of places) {
        const logits = normals(vocab, vocab)
        logits[place] = 10
        expect(sampleOne(run, logits).token).toBe(place)
      }
    })
  }

  test("the first of equal logits", () => {
    using run = openSampler(backend, 100)
    expect(sampleOne(run, new Float32Array(100).fill(2, 41, 90)).token).toBe(41)
    expect(sampleOne(run, new Float32Array(100).fill(-1)).token).toBe(0)
  })

  test("among logits that are all negative, some -infinity", () => {
    using run = openSampler(backend, 33)
    const logits = normals(33, 1).map((x) => -1000 - Math.abs(x))
    logits.fill(minus, 0, 12)
    expect(sampleOne(run, logits).token).toBe(argmax(logits))
  })

  test("each output has its own row and parameters", () => {
    using run = openSampler(backend, 64)
    const logits = normals(5 * 64, 2)
    const outputs = [{}, { biases: [[7, 100]] as const }, {}, { temperature: 1, top_k: 1 }, {}]
    const tokens = sampleRows(run, logits, outputs).map((result) => result.token)
    const best = Array.from({ length: 5 }, (_, row) => argmax(logits.subarray(row * 64, row * 64 + 64)))
    expect(tokens).toEqual(best.map((token, row) => (row === 1 ? 7 : token)))
  })
})

onEveryBackend("SAMPLE, temperature", (backend) => {
  for (const vocab of [2, 8, 33, 1000]) {
    for (const temperature of [0.5, 1, 2]) {
      test(`${vocab} tokens at temperature ${temperature}`, () => {
        using run = openSampler(backend, vocab)
        const logits = normals(vocab, vocab, 1.5)
        const counts = countDraws(run, logits, { temperature, seed: 42n }, DRAWS)
        expectDistribution(counts, probabilitiesOf(logits, temperature))
      })
    }
  }

  test("a very low temperature is greedy, a very high one uniform", () => {
    using run = openSampler(backend, 16)
    const logits = normals(16, 3)
    expect(countDraws(run, logits, { temperature: 1e-4 }, 1000)[argmax(logits)]).toBe(1000)
    expectDistribution(countDraws(run, logits, { temperature: 1e6 }, DRAWS), new Float64Array(16).fill(1 / 16))
  })

  test("logits of ±1e4 do not overflow", () => {
    using run = openSampler(backend, 3)
    const logits = [1e4, 1e4 - 1, -1e4]
    expectDistribution(countDraws(run, logits, {}, DRAWS), probabilitiesOf(logits))
  })

  test("tokens at -infinity are never drawn", () => {
    using run = openSampler(backend, 4)
    const logits = [minus, 0, minus, 1]
    expectDistribution(countDraws(run, logits, {}, DRAWS), probabilitiesOf(logits))
  })

  for (const [name, vary] of [
    ["seeds", (i: number) => ({ seed: BigInt(i), counter: 3 })],
    ["high halves of seeds", (i: number) => ({ seed: BigInt(i) << 32n, counter: 3 })],
    ["counters under a random seed", (i: number) => ({ seed: 0x9e3779b97f4a7c15n, counter: i })],
    ["large counters", (i: number) => ({ seed: 1n, counter: 0xffffffff - i })],
  ] as const) {
    test(`draws over consecutive ${name} are fair`, () => {
      using run = openSampler(backend, 10)
      expectDistribution(countDraws(run, new Float32Array(10), {}, DRAWS, vary), new Float64Array(10).fill(0.1))
    })
  }

  test("neighbouring draws are independent", () => {
    using run = openSampler(backend, 4)
    for (const vary of [(i: number) => ({ counter: i }), (i: number) => ({ seed: BigInt(i) })]) {
      const outputs = Array.from({ length: 256 }, (_, i) => i)
      const tokens: number[] = []
      for (let start = 0; start < DRAWS; start += 256) {
        const rows = outputs.map((i) => ({ temperature: 1, ...vary(start + i) }))
        tokens.push(...sampleRows(run, new Float32Array(256 * 4), rows).map((result) => result.token))
      }
      const pairs = new Float64Array(16)
      for (let i = 0; i + 1 < tokens.length; i += 2) {
        const cell = (tokens[i] as number) * 4 + (tokens[i + 1] as number)
        pairs[cell] = (pairs[cell] as number) + 1
      }
      expectDistribution(pairs, new Float64Array(16).fill(1 / 16))
    }
  })
})

/** Probabilities by rank, chosen so that no limit below equals a cumulative sum. */
const RANKED = [0.4, 0.3, 0.15, 0.08, 0.04, 0.02, 0.007, 0.003]

onEveryBackend("SAMPLE, top-k, top-p, min-p", (backend) => {
  const filters: readonly (readonly [string, OutputSpec, number])[] = [
    ["top-k 1", { top_k: 1 }, 1],
    ["top-k 2", { top_k: 2 }, 2],
    ["top-k 5", { top_k: 5 }, 5],
    ["top-k of the whole vocabulary", { top_k: 8 }, 8],
    ["top-k beyond the vocabulary", { top_k: 100 }, 8],
    ["top-p 0.01 keeps the best", { top_p: 0.01 }, 1],
    ["top-p 0.5 takes the token that crosses it", { top_p: 0.5 }, 2],
    ["top-p 0.75", { top_p: 0.75 }, 3],
    ["top-p 0.9", { top_p: 0.9 }, 4],
    ["top-p 0.999", { top_p: 0.999 }, 8],
    ["min-p 0.9 keeps the best", { min_p: 0.9 }, 1],
    ["min-p 0.5", { min_p: 0.5 }, 2],
    ["min-p 0.15", { min_p: 0.15 }, 4],
    ["min-p 0.01", { min_p: 0.01 }, 7],
    ["top-k 3 under top-p 0.999", { top_k: 3, top_p: 0.999 }, 3],
    ["top-p 0.5 under top-k 5", { top_k: 5, top_p: 0.5 }, 2],
    ["min-p 0.5 under top-k 5 and top-p 0.9", { top_k: 5, top_p: 0.9, min_p: 0.5 }, 2],
    ["top-k 2 under min-p 0.01", { top_k: 2, min_p: 0.01 }, 2],
  ]
  for (const [name, output, kept] of filters) {
    test(`${name}: exactly ${kept} of 8 tokens`, () => {
      using run = openSampler(backend, 8)
      const { logits, order } = scrambled(RANKED, 5)
      const counts = countDraws(run, logits, { seed: 7n, ...output }, DRAWS)
      expectDistribution(counts, keepOnly(probabilitiesOf(logits), order.slice(0, kept)))
    })
  }

  for (const [name, output] of [
    ["top-k 50", { top_k: 50 }],
    ["top-p 0.6", { top_p: 0.6 }],
    ["min-p 0.05", { min_p: 0.05 }],
    ["top-k 50, top-p 0.9, min-p 0.02", { top_k: 50, top_p: 0.9, min_p: 0.02 }],
  ] as const) {
    test(`${name} of 8192 tokens`, () => {
      using run = openSampler(backend, 8192)
      const logits = normals(8192, 9, 3)
      const probabilities = probabilitiesOf(logits)
      expectDistribution(
        countDraws(run, logits, output, 2048),
        keepOnly(probabilities, survivors(probabilities, output)),
      )
    })
  }

  test("top-k 1 is greedy at any temperature", () => {
    using run = openSampler(backend, 1000)
    const logits = normals(1000, 4)
    expect(countDraws(run, logits, { temperature: 5, top_k: 1 }, 512)[argmax(logits)]).toBe(512)
  })

  test("top-k keeps exactly k tokens among equal logits", () => {
    using run = openSampler(backend, 64)
    const counts = countDraws(run, new Float32Array(64).fill(1), { top_k: 10 }, DRAWS)
    expect(counts.filter((count) => count > 0).length).toBe(10)
  })
})

/** The tokens that remain after top-k, then top-p, then min-p. */
function survivors(probabilities: Float64Array, output: OutputSpec): number[] {
  const { top_k = 0, top_p = 1, min_p = 0 } = output
  let ranked = [...probabilities.keys()].sort((a, b) => (probabilities[b] as number) - (probabilities[a] as number))
  if (top_k > 0) ranked = ranked.slice(0, top_k)
  const total = ranked.reduce((sum, token) => sum + (probabilities[token] as number), 0)
  let reached = 0
  const last = ranked.findIndex((token) => {
    reached += (probabilities[token] as number) / total
    return reached >= top_p
  })
  if (last >= 0) ranked = ranked.slice(0, last + 1)
  const floor = min_p * (probabilities[ranked[0] as number] as number)
  return ranked.filter((token) => (probabilities[token] as number) >= floor)
}

onEveryBackend("SAMPLE, mask", (backend) => {
  const maskOf = (vocab: number, allowed: readonly number[]) => {
    const mask = new Uint32Array(Math.ceil(vocab / 32))
    for (const token of allowed) mask[token >> 5] = (mask[token >> 5] as number) | (1 << (token & 31))
    return mask
  }

  for (const vocab of [3, 31, 33, 1000]) {
    test(`greedy takes the best allowed of ${vocab}`, () => {
      using run = openSampler(backend, vocab)
      const logits = normals(vocab, vocab)
      const random = new Random(vocab)
      const allowed = Array.from({ length: vocab }, (_, i) => i).filter(() => random.below(3) > 0)
      const token = sampleOne(run, logits, { mask: maskOf(vocab, allowed) }).token
      expect(token).toBe(allowed.reduce((a, b) => ((logits[b] as number) > (logits[a] as number) ? b : a)))
    })
  }

  test("only allowed tokens are drawn", () => {
    using run = openSampler(backend, 40)
    const logits = normals(40, 3)
    const allowed = [1, 31, 32, 39]
    const counts = countDraws(run, logits, { mask: maskOf(40, allowed) }, DRAWS)
    expectDistribution(counts, keepOnly(probabilitiesOf(logits), allowed))
  })

  test("top-k and top-p count allowed tokens only", () => {
    using run = openSampler(backend, 8)
    const { logits, order } = scrambled(RANKED, 5)
    const mask = maskOf(8, order.slice(2))
    const counts = countDraws(run, logits, { mask, top_k: 2 }, DRAWS)
    expectDistribution(counts, keepOnly(probabilitiesOf(logits), order.slice(2, 4)))
    const nucleus = countDraws(run, logits, { mask, top_p: 0.7 }, DRAWS)
    expectDistribution(nucleus, keepOnly(probabilitiesOf(logits), order.slice(2, 4)))
  })

  test("a mask that allows nothing gives -1, greedy or not", () => {
    using run = openSampler(backend, 33)
    const mask = new Uint32Array(2)
    expect(sampleOne(run, normals(33, 1), { mask }).token).toBe(-1)
    expect(sampleOne(run, normals(33, 1), { mask, temperature: 1 }).token).toBe(-1)
    expect(sampleOne(run, normals(33, 1), { mask, temperature: 1, top_p: 0.5 }).token).toBe(-1)
  })

  test("mask bits beyond the vocabulary are ignored", () => {
    using run = openSampler(backend, 33)
    expect(sampleOne(run, normals(33, 1), { mask: Uint32Array.of(0, 0xfffffffe) }).token).toBe(-1)
    expect(sampleOne(run, normals(33, 1), { mask: Uint32Array.of(0, 0xffffffff) }).token).toBe(32)
    expect(sampleOne(run, normals(33, 1), { mask: Uint32Array.of(2, 0, 0xffffffff) }).token).toBe(1)
  })

  test("the mask of one row does not affect the other outputs", () => {
    using run = openSampler(backend, 33)
    const logits = normals(3 * 33, 6)
    const tokens = sampleRows(run, logits, [{}, { mask: Uint32Array.of(1, 0) }, {}]).map((result) => result.token)
    expect(tokens).toEqual([argmax(logits.subarray(0, 33)), 0, argmax(logits.subarray(66))])
  })
})

onEveryBackend("SAMPLE, NaN", (backend) => {
  for (const vocab of [1, 33, 1000]) {
    for (const place of [...new Set([0, vocab >> 1, vocab - 1])]) {
      test(`a NaN at ${place} of ${vocab} gives -1`, () => {
        using run = openSampler(backend, vocab)
        const logits = normals(vocab, 1)
        logits[place] = Number.NaN
        for (const output of [
          {},
          { temperature: 1 },
          { temperature: 1, top_k: 5 },
          { temperature: 1, top_p: 0.9 },
          { n_top: 1 },
        ]) {
          expect(sampleOne(run, logits, output).token).toBe(-1)
        }
      })
    }
  }

  test("logits that are all -infinity give -1", () => {
    using run = openSampler(backend, 33)
    expect(sampleOne(run, new Float32Array(33).fill(minus)).token).toBe(-1)
    expect(sampleOne(run, new Float32Array(33).fill(minus), { temperature: 1 }).token).toBe(-1)
  })

  test("NaN in one row does not affect the other rows", () => {
    using run = openSampler(backend, 100)
    const logits = normals(300, 2)
    logits.fill(Number.NaN, 100, 200)
    const tokens = sampleRows(run, logits, [{}, {}, { temperature: 1, top_k: 1 }]).map((result) => result.token)
    expect(tokens).toEqual([argmax(logits.subarray(0, 100)), -1, argmax(logits.subarray(200))])
  })
})
