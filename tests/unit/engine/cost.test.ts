import { describe, expect, test } from "bun:test"
import { StepCost, tokenCost } from "../../../src/engine/cost.ts"
import type { LayerConfig, ModelConfig } from "../../../src/models/config.ts"

const layer = { nHeads: 9, nKvHeads: 3, headDim: 64, valueDim: 64, ffn: 1536, window: 0 }
const smollm = (...layers: Partial<LayerConfig>[]) => {
  return { hiddenSize: 576, layers: layers.map((change) => ({ ...layer, ...change })) } as unknown as ModelConfig
}

test("a prompt token costs more after a longer context, up to the sliding window", () => {
  const cost = tokenCost(smollm({}, {}))
  expect(cost(0)).toBe(1)
  expect(cost(1408)).toBeCloseTo(1.92, 2)
  const narrow = tokenCost(smollm({ window: 512 }, { window: 512 }))
  expect(narrow(400)).toBe(cost(400))
  expect(narrow(5000)).toBe(cost(512))
})

test("each layer counts with its own window and widths", () => {
  const cost = tokenCost(smollm({}))
  const mixed = tokenCost(smollm({}, { window: 512 }))
  expect(mixed(5000)).toBeCloseTo((cost(5000) + cost(512)) / 2, 12)
  expect(tokenCost(smollm({}, { ffn: 3072 }))(1000)).toBeLessThan(cost(1000))
})

describe("the cost of one more token in a step", () => {
  const measured = (msOf: (tokens: number) => number) => {
    const cost = new StepCost()
    for (let i = 0; i < 200; i++) cost.record(1 + (i % 5), msOf(1 + (i % 5)))
    return cost
  }

  test("is measured from steps of different sizes", () => {
    const cost = measured((tokens) => 8 + 2 * tokens)
    expect(cost.leastAcceptance(1)).toBeCloseTo(2 / 10, 5)
    expect(cost.leastAcceptance(8)).toBeCloseTo(2 / 3, 5)
  })

  test("is zero if tokens are free, and a whole step if nothing is shared", () => {
    expect(measured(() => 5).leastAcceptance(1)).toBeCloseTo(0, 5)
    expect(measured((tokens) => 3 * tokens).leastAcceptance(1)).toBeCloseTo(1, 5)
  })

  test("has a default while all steps have the same size", () => {
    const cost = new StepCost()
    expect(cost.leastAcceptance(1)).toBeCloseTo(0.3, 5)
    for (let i = 0; i < 50; i++) cost.record(1, 7)
    expect(cost.leastAcceptance(1)).toBeCloseTo(0.3, 5)
  })

  test("ignores a pause of the machine", () => {
    const cost = measured((tokens) => 8 + 2 * tokens)
    cost.record(1, 5000)
    expect(cost.leastAcceptance(1)).toBeCloseTo(2 / 10, 5)
  })
})
