/** `rocmforge bench` plans enough room to measure all sequences together, for any chunk size of the engine. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { benchModel, contextNeeded, type DecodeShape } from "../../../src/cli/bench-measure.ts"
import { loadModel } from "../../../src/engine/load.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

let folder: string
let path: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-bench-"))
  path = join(folder, "tiny.gguf")
  await writeTinyModel(path, { context_length: 4096 })
})
afterAll(() => rm(folder, { recursive: true }))

const plan = (shape: DecodeShape) => ({
  prompts: [8],
  decodes: [shape],
  repetitions: 1,
  kvType: "f16" as const,
  bandwidth: 1,
  matrixRate: null,
})

for (const chunkSize of [undefined, 1, 7, 64])
  for (const context of [1, 64, 100])
    for (const concurrency of [1, 2, 8])
      test(`${concurrency} sequences after ${context} tokens, in chunks of ${chunkSize ?? "the default size"}`, async () => {
        const shape = { concurrency, context, tokens: 5 }
        const options = {
          device: "cpu",
          threads: 1,
          maxSeqs: concurrency,
          fullLengths: concurrency,
          ...(chunkSize && { chunkSize, batchSize: Math.max(8, chunkSize) }),
        }
        const needed = await (async () => {
          await using model = await loadModel(path, options)
          return contextNeeded({ config: model.config, ...model.engine.limits }, plan(shape))
        })()
        // The measurement uses no more room than planned.
        await using model = await loadModel(path, { ...options, ctxSize: needed })
        const { decode } = await benchModel(model, plan(shape))
        expect(decode).toMatchObject([shape])
        expect(decode[0]?.tokens_per_second.median).toBeGreaterThan(0)
      })

test("the room is counted in the engine's chunks, which shrink late in a prompt, down to a quarter", async () => {
  await using model = await loadModel(path, { device: "cpu", threads: 1, maxSeqs: 8, chunkSize: 16 })
  const { limits } = model.engine
  const needed = (context: number) =>
    contextNeeded({ config: model.config, ...limits }, plan({ concurrency: 8, context, tokens: 5 })) - context
  expect(limits).toMatchObject({ batchTokens: 128, chunkTokens: 16 })
  expect(needed(1)).toBe(5 + 1 + 8 + 16)
  const longest = 8 * Math.ceil(4000 / 4)
  expect(needed(4000)).toBe(5 + 1 + longest + 16)
})
