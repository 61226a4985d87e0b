import { expect, test } from "bun:test"
import { rowCost } from "../../../src/engine/row-cost.ts"
import type { ModelConfig } from "../../../src/models/config.ts"

const smollm = {
  hiddenSize: 576,
  nHeads: 9,
  nKvHeads: 3,
  headDim: 64,
  ffn: 1536,
  slidingWindow: 0,
} as ModelConfig

test("a row costs more the more it sees, up to the sliding window", () => {
  const cost = rowCost(smollm)
  expect(cost(0)).toBe(1)
  expect(cost(1408)).toBeCloseTo(1.92, 2)
  const narrow = rowCost({ ...smollm, slidingWindow: 512 })
  expect(narrow(400)).toBe(cost(400))
  expect(narrow(5000)).toBe(cost(512))
})
