import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { decodeTraffic, prefillOperations } from "../../../src/cli/bench-traffic.ts"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel, type ModelDefinition } from "../../../src/models/registry.ts"
import { type TinyModelOptions, writeTinyModel } from "../../support/tiny-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-traffic-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function model(options: TinyModelOptions): Promise<ModelDefinition> {
  const path = join(folder, `${crypto.randomUUID()}.gguf`)
  await writeTinyModel(path, options)
  return buildModel(await openGguf(path))
}

const EACH: TinyModelOptions = { layers: 2, heads: [4, 8], kv_heads: [2, 4], head_dim: 16, ffn: [96, 32] }

test("a decode step reads every weight once, a row of the embedding table, and the K/V of each layer", async () => {
  const traffic = decodeTraffic(await model(EACH), "f16", { concurrency: 3, context: 10, tokens: 5 })
  const attention = [64 * (4 + 2 + 2 + 4) * 16, 64 * (8 + 4 + 4 + 8) * 16] as const
  const layers = attention[0] + attention[1] + 3 * 64 * (96 + 32) + 4 * 64
  const inverseFrequencies = 8
  expect(traffic.weights).toBe(4 * (layers + 64 + 320 * 64 + 3 * 64 + inverseFrequencies))
  // Lengths of 11 to 15 tokens.
  expect(traffic.kv).toBe(3 * 13 * 2 * 2 * (2 + 4) * 16)
})

test("in a layer with a window, a decode step reads only the K/V of the window", async () => {
  const shape = { concurrency: 1, context: 10, tokens: 5 }
  const windowed = await model({ ...EACH, sliding_window: 13, window_pattern: [false, true] })
  // 11, 12, 13, 13 and 13 tokens.
  expect(decodeTraffic(windowed, "f16", shape).kv).toBeCloseTo(2 * 2 * 16 * (2 * 13 + 4 * 12.4), 9)
})

test("the operations of a prompt are counted from the matrices and heads of each layer", async () => {
  const matrices = 64 * 16 * (12 + 24) + 3 * 64 * (96 + 32)
  const meanSeen = 50.5
  const whole = prefillOperations(await model(EACH), 100)
  expect(whole).toBe(2 * (matrices + 2 * 16 * (4 + 8) * meanSeen))
  const windowed = prefillOperations(await model({ ...EACH, sliding_window: [0, 1] }), 100)
  expect(windowed).toBe(2 * (matrices + 2 * 16 * (4 * meanSeen + 8)))
})
