import { describe, expect, test } from "bun:test"
import type { RopeConfig, RopeScaling } from "../../../src/models/config.ts"
import { ropeFrequencies } from "../../../src/models/rope.ts"

function config(dim: number, base: number, scaling: RopeScaling, attnFactor = 1): RopeConfig {
  return { dim, base, scaling, attnFactor, freqFactors: false }
}

const YARN = {
  type: "yarn",
  factor: 4,
  originalContext: 2048,
  betaFast: 32,
  betaSlow: 1,
  extFactor: 1,
  logMultiplier: 0,
} as const

describe("inverse frequencies", () => {
  test("unscaled: powers of the base", () => {
    const { invFreq, magnitude } = ropeFrequencies(config(8, 10000, { type: "none" }))
    expect([...invFreq]).toEqual([1, 0.1, 0.01, 0.001].map(Math.fround))
    expect(magnitude).toBe(1)
  })

  test("linear: divided by the factor", () => {
    const { invFreq } = ropeFrequencies(config(4, 10000, { type: "linear", factor: 8 }))
    expect([...invFreq]).toEqual([0.125, 0.00125].map(Math.fround))
  })

  test("llama 3: divided by the file's factors", () => {
    const { invFreq } = ropeFrequencies(config(4, 10000, { type: "none" }), Float32Array.of(1, 8))
    expect([...invFreq]).toEqual([1, 0.00125].map(Math.fround))
  })

  test("yarn: the values of transformers 5.23 for this configuration", () => {
    const { invFreq, magnitude } = ropeFrequencies(config(16, 10000, YARN))
    const expected = [1.0, 0.31622776, 0.1, 0.025693506, 0.0062499996, 0.0013834966, 0.00025000001, 7.9056947e-5]
    for (const [i, value] of expected.entries()) expect(invFreq[i]).toBeCloseTo(value, 7)
    expect(magnitude).toBeCloseTo(1.1386294361119891, 12)
  })

  test("yarn without the mix is linear; attention factors multiply the magnitude", () => {
    const plain = ropeFrequencies(config(16, 10000, { ...YARN, extFactor: 0 }, 2))
    const linear = ropeFrequencies(config(16, 10000, { type: "linear", factor: 4 }))
    expect(plain.invFreq).toEqual(linear.invFreq)
    expect(plain.magnitude).toBe(2)
    const both = ropeFrequencies(config(16, 10000, { ...YARN, logMultiplier: 1 }, 0.5))
    expect(both.magnitude).toBeCloseTo(0.5, 12)
  })
})
