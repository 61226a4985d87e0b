/**
 * SAMPLE's penalties and biases. Repetition (Keskar et al., "CTRL", 2019): a positive logit of a listed token is divided, a negative
 * one multiplied. Then frequency · count and presence (where count > 0) are subtracted, as OpenAI defines them, and biases added.
 */

import { expect, test } from "bun:test"
import { countDraws, expectDistribution, openSampler, probabilitiesOf, sampleOne } from "../support/kernel-sampling.ts"
import type { OutputSpec } from "../support/kernel-step.ts"
import { onEveryBackend } from "../support/kernel-suite.ts"

const LOGITS = [2, 1, -1, 0.5, -0.5, 1.5]
const COUNTS: readonly (readonly [number, number])[] = [
  [0, 3],
  [2, 1],
  [3, 0],
  [5, 2],
]

/** Float64 reference of the adjusted logits. */
function adjusted(logits: readonly number[], output: OutputSpec): number[] {
  const { repeat_penalty = 1, frequency_penalty = 0, presence_penalty = 0, penalties = [], biases = [] } = output
  const out = [...logits]
  for (const [token, count] of penalties) {
    const logit = out[token] as number
    const repeated = logit > 0 ? logit / repeat_penalty : logit * repeat_penalty
    out[token] = repeated - frequency_penalty * count - (count > 0 ? presence_penalty : 0)
  }
  for (const [token, bias] of biases) out[token] = (out[token] as number) + bias
  return out
}

onEveryBackend("SAMPLE, penalties and biases", (backend) => {
  const specs: readonly (readonly [string, OutputSpec])[] = [
    ["repetition 1.3", { repeat_penalty: 1.3, penalties: COUNTS }],
    ["repetition 0.7 favours what was said", { repeat_penalty: 0.7, penalties: COUNTS }],
    ["frequency 0.4", { frequency_penalty: 0.4, penalties: COUNTS }],
    ["a negative frequency penalty", { frequency_penalty: -0.3, penalties: COUNTS }],
    ["presence 0.8", { presence_penalty: 0.8, penalties: COUNTS }],
    ["all three", { repeat_penalty: 1.2, frequency_penalty: 0.2, presence_penalty: 0.5, penalties: COUNTS }],
    [
      "biases",
      {
        biases: [
          [1, 1.5],
          [4, -2],
        ],
      },
    ],
    [
      "a bias on a penalised token",
      {
        repeat_penalty: 1.5,
        penalties: COUNTS,
        biases: [
          [0, 1],
          [2, 2],
        ],
      },
    ],
    ["pairs without any penalty change nothing", { penalties: COUNTS }],
    ["penalties without pairs change nothing", { repeat_penalty: 2, frequency_penalty: 1, presence_penalty: 1 }],
    ["under temperature 0.7", { temperature: 0.7, repeat_penalty: 1.3, frequency_penalty: 0.2, penalties: COUNTS }],
  ]
  for (const [name, output] of specs) {
    test(name, () => {
      using run = openSampler(backend, LOGITS.length)
      const counts = countDraws(run, LOGITS, { seed: 3n, ...output }, 20_000)
      expectDistribution(counts, probabilitiesOf(adjusted(LOGITS, output), output.temperature))
    })
  }

  /** Greedy switches to the other token exactly where its logit exceeds the adjusted logit. */
  const boundaries: readonly (readonly [string, number, OutputSpec, number])[] = [
    ["repetition divides 5 by 2", 5, { repeat_penalty: 2, penalties: [[0, 1]] }, 2.5],
    ["repetition multiplies -2 by 1.5", -2, { repeat_penalty: 1.5, penalties: [[0, 0]] }, -3],
    ["repetition does not count occurrences", 5, { repeat_penalty: 2, penalties: [[0, 9]] }, 2.5],
    ["frequency counts occurrences", 5, { frequency_penalty: 0.5, penalties: [[0, 4]] }, 3],
    ["presence does not count occurrences", 5, { presence_penalty: 0.5, penalties: [[0, 4]] }, 4.5],
    [
      "tokens of the prompt alone have no presence and no frequency",
      5,
      { presence_penalty: 1, frequency_penalty: 1, penalties: [[0, 0]] },
      5,
    ],
    ["a bias is added", 5, { biases: [[0, -1.5]] }, 3.5],
  ]
  for (const [name, logit, output, result] of boundaries) {
    test(`${name}, greedy`, () => {
      using run = openSampler(backend, 2)
      expect(sampleOne(run, [logit, result - 1e-3], output).token).toBe(0)
      expect(sampleOne(run, [logit, result + 1e-3], output).token).toBe(1)
    })
  }

  test("a bias of -100 or -infinity bans a token, a bias of +100 forces it", () => {
    using run = openSampler(backend, 3)
    expect(countDraws(run, [5, 0, 0], { biases: [[0, -100]] }, 2000)[0]).toBe(0)
    expect(countDraws(run, [5, 0, 0], { biases: [[2, 100]] }, 2000)[2]).toBe(2000)
    expect(sampleOne(run, [5, 0, 0], { biases: [[0, Number.NEGATIVE_INFINITY]] }).token).toBe(1)
  })

  test("a bias of 1e30 forces a token, whose log-probability is that of the logits; a bias of -1e30 bans it", () => {
    using run = openSampler(backend, 4)
    const logits = [5, 1, -30, 2]
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0))
    for (const [token, logit] of logits.entries()) {
      const { token: named, logprob, top } = sampleOne(run, logits, { biases: [[token, 1e30]], n_top: 2 })
      expect(named).toBe(token)
      expect(logprob).toBeCloseTo(logit - total, 4)
      expect(top.map((entry) => entry.token)).toEqual([0, 3])
    }
    expect(countDraws(run, logits, { temperature: 100, biases: [[0, -1e30]] }, 500)[0]).toBe(0)
  })

  test("penalties of one output do not affect another output with the same logits", () => {
    using run = openSampler(backend, 3)
    const vary = (i: number): OutputSpec => (i % 2 === 0 ? { biases: [[0, 50]], counter: i } : { counter: i })
    const counts = countDraws(run, [0, 0, 0], {}, 10_000, vary)
    expectDistribution(counts, [0.5 + 1 / 6, 1 / 6, 1 / 6])
  })

  test("the logits buffer of a second step is not penalised by the first", () => {
    using run = openSampler(backend, 4)
    expect(sampleOne(run, [3, 2, 1, 0], { biases: [[0, -10]] }).token).toBe(1)
    expect(sampleOne(run, [3, 2, 1, 0]).token).toBe(0)
  })
})
