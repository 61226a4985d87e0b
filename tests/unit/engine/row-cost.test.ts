import { expect, test } from "bun:test"
import { rowCost } from "../../../src/engine/row-cost.ts"
import type { LayerConfig, ModelConfig } from "../../../src/models/config.ts"

const layer = { nHeads: 9, nKvHeads: 3, headDim: 64, valueDim: 64, ffn: 1536, window: 0 }
const smollm = (...layers: Partial<LayerConfig>[]) => {
  return { hiddenSize: 576, layers: layers.map((change) => ({ ...layer, ...change })) } as unknown as ModelConfig
}

test("a row costs more the more it sees, up to the sliding window", () => {
  const cost = rowCost(smollm({}, {}))
  expect(cost(0)).toBe(1)
  expect(cost(1408)).toBeCloseTo(1.92, 2)
  const narrow = rowCost(smollm({ window: 512 }, { window: 512 }))
  expect(narrow(400)).toBe(cost(400))
  expect(narrow(5000)).toBe(cost(512))
})

test("layers count with their own windows and widths", () => {
  const cost = rowCost(smollm({}))
  const mixed = rowCost(smollm({}, { window: 512 }))
  expect(mixed(5000)).toBeCloseTo((cost(5000) + cost(512)) / 2, 12)
  expect(rowCost(smollm({}, { ffn: 3072 }))(1000)).toBeLessThan(cost(1000))
})
