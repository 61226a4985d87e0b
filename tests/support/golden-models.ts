/** The golden logits of `tests/golden/models`, and a measure of the difference to them. */

import { join } from "node:path"
import { z } from "zod"

const FOLDER = join(import.meta.dir, "../golden/models")

const Index = z.object({
  positions: z.number(),
  cases: z.record(z.string(), z.object({ sha256: z.string(), n_vocab: z.number(), tokens: z.array(z.number()) })),
})

export interface GoldenModel {
  /** Digest of the model file for which the logits were computed. */
  sha256: string
  n_vocab: number
  tokens: number[]
  /** [tokens, n_vocab] */
  logits: Float32Array
}

/** Every case that has golden data, by name. */
export async function goldenModels(): Promise<Map<string, GoldenModel>> {
  const index = Index.parse(await Bun.file(join(FOLDER, "index.json")).json())
  const models = new Map<string, GoldenModel>()
  for (const [name, entry] of Object.entries(index.cases)) {
    const logits = new Float32Array(await Bun.file(join(FOLDER, `${name}.f32`)).arrayBuffer())
    models.set(name, { ...entry, logits })
  }
  return models
}

/** Largest difference between two logit matrices [·, vocab], relative to the size (RMS) of the reference's row. */
export function worstError(found: ArrayLike<number>, expected: Float32Array, vocab: number): number {
  if (found.length !== expected.length || expected.length === 0) return Number.POSITIVE_INFINITY
  let worst = 0
  for (let start = 0; start < expected.length; start += vocab) {
    const row = expected.subarray(start, start + vocab)
    const rms = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / vocab)
    for (let i = 0; i < vocab; i++) {
      const error = Math.abs((found[start + i] ?? Number.NaN) - (row[i] ?? 0)) / rms
      if (Number.isNaN(error)) return Number.POSITIVE_INFINITY
      worst = Math.max(worst, error)
    }
  }
  return worst
}
