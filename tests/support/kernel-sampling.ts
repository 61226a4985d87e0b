/** Many draws from the sampler, and statistical tests for them. */

import { BLOCK_SIZE } from "../../src/native/abi.ts"
import type { StepResult } from "../../src/native/step-structs.ts"
import { Random } from "./kernel-data.ts"
import { type Backend, type KernelRun, openProgram } from "./kernel-harness.ts"
import type { OutputSpec } from "./kernel-step.ts"

/** Most outputs of a step. */
export const BATCH = 256

export function openSampler(backend: Backend, vocab: number, nThreads = 2): KernelRun {
  return openProgram(backend, {
    buffers: [{ rows: "outputs", width: vocab }],
    ops: [{ kind: "SAMPLE", buf: [0], dim: [vocab] }],
    limits: { maxTokens: BATCH, maxOutputs: BATCH, nThreads },
  })
}

/** Runs one step on logits [outputs.length, vocab], with sampling parameters for each row. */
export function sampleRows(run: KernelRun, logits: Float32Array, outputs: readonly OutputSpec[]): StepResult[] {
  run.write(0, logits)
  const rows = outputs.length
  // No op of the plan has a cache, so one block table serves every step.
  const blocks = Array.from({ length: Math.ceil(rows / BLOCK_SIZE) }, (_, i) => i)
  return run.step({ sequences: [{ rows, blocks }], outputs: outputs.map((output, row) => ({ row, ...output })) })
}

/** Runs one step with one output. */
export function sampleOne(run: KernelRun, logits: ArrayLike<number>, output: OutputSpec = {}): StepResult {
  return sampleRows(run, Float32Array.from(logits), [output])[0] as StepResult
}

/** Counts each token in `n` draws from the same logits; `vary` returns the parameters that differ in draw i. */
export function countDraws(
  run: KernelRun,
  logits: ArrayLike<number>,
  output: OutputSpec,
  n: number,
  vary: (i: number) => OutputSpec = (i) => ({ counter: i }),
): Float64Array {
  const vocab = logits.length
  const tiled = new Float32Array(BATCH * vocab)
  for (let row = 0; row < BATCH; row++) tiled.set(logits, row * vocab)
  const counts = new Float64Array(vocab)
  for (let start = 0; start < n; start += BATCH) {
    const rows = Math.min(BATCH, n - start)
    const outputs = Array.from({ length: rows }, (_, i) => ({ temperature: 1, ...output, ...vary(start + i) }))
    for (const { token } of sampleRows(run, tiled.subarray(0, rows * vocab), outputs)) {
      if (token < 0 || token >= vocab) throw new Error(`a draw gave token ${token}`)
      counts[token] = (counts[token] as number) + 1
    }
  }
  return counts
}

/**
 * Pearson's chi-square test that the counts follow the probabilities. Tokens of probability 0 must never occur; tokens with an
 * expected count below 8 are pooled.
 * @throws Error beyond the 1e-5 quantile (Wilson and Hilferty's approximation, 1931). Seeds are fixed, so the outcome is too.
 */
export function expectDistribution(counts: Float64Array, probabilities: ArrayLike<number>): void {
  const n = counts.reduce((sum, count) => sum + count, 0)
  const cells: { seen: number; expected: number }[] = []
  const rare = { seen: 0, expected: 0 }
  for (const [token, seen] of counts.entries()) {
    const expected = n * (probabilities[token] as number)
    if (expected === 0) {
      if (seen > 0) throw new Error(`token ${token} came ${seen} times of ${n}, and must never come`)
    } else if (expected < 8) {
      rare.seen += seen
      rare.expected += expected
    } else cells.push({ seen, expected })
  }
  if (rare.expected > 0) cells.push(rare)
  const freedom = cells.length - 1
  if (freedom === 0) return
  const statistic = cells.reduce((sum, { seen, expected }) => sum + (seen - expected) ** 2 / expected, 0)
  const ninth = 2 / (9 * freedom)
  const limit = freedom * (1 - ninth + 4.265 * Math.sqrt(ninth)) ** 3
  if (statistic <= limit) return
  const worst = cells.reduce((a, b) =>
    (a.seen - a.expected) ** 2 / a.expected > (b.seen - b.expected) ** 2 / b.expected ? a : b,
  )
  throw new Error(
    `chi-square ${statistic.toFixed(1)} over ${freedom} degrees of freedom, at most ${limit.toFixed(1)}; ` +
      `worst cell came ${worst.seen} times, expected ${worst.expected.toFixed(1)}`,
  )
}

/** softmax(logits / temperature). */
export function probabilitiesOf(logits: ArrayLike<number>, temperature = 1): Float64Array {
  const most = Math.max(...Array.from(logits))
  return normalized(Float64Array.from(logits, (logit) => Math.exp((logit - most) / temperature)))
}

/** The probabilities of the kept tokens, scaled to a sum of 1; the others are 0. */
export function keepOnly(probabilities: Float64Array, kept: readonly number[]): Float64Array {
  return normalized(probabilities.map((p, token) => (kept.includes(token) ? p : 0)))
}

function normalized(weights: Float64Array): Float64Array {
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}

/** Logits whose softmax is these probabilities (0 becomes -infinity), in a shuffled order of tokens. */
export function scrambled(probabilities: readonly number[], seed: number) {
  const order = new Random(seed).shuffle(probabilities.map((_, i) => i))
  const logits = new Float32Array(probabilities.length)
  for (const [rank, token] of order.entries()) logits[token] = Math.log(probabilities[rank] as number) + 3
  return { logits, /** Token of each rank. */ order }
}
