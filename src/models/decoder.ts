/**
 * What the decoder families share: the buffers of a forward pass, its beginning and its end. What a layer computes is written
 * in each family's own file.
 */

import type { Gguf } from "../gguf/reader.ts"
import { PlanBuilder } from "../plan/builder.ts"
import type { PlanBuffer, PlanCache, Rope, Weight } from "../plan/operands.ts"
import type { Plan } from "../plan/plan.ts"
import { type ModelConfig, readConfig } from "./config.ts"
import { ropeFrequencies } from "./rope.ts"
import { ModelWeights } from "./weights.ts"

/** A model family: which architectures it runs, and how it records their plan. */
export interface ModelFamily {
  /** Names in `general.architecture`. */
  architectures: readonly string[]
  /** Records one layer's ops, from the residual stream `x` back to it. */
  layer(decoder: Decoder, layer: DecoderLayer): void
  /** Rotated pairs are (i, i + dim/2), else (2i, 2i + 1). */
  neox: boolean
}

export interface Decoder {
  config: ModelConfig
  p: PlanBuilder
  /** The residual stream, [n_tokens, hidden_size]. */
  x: PlanBuffer
  /** The normalized stream, [n_tokens, hidden_size]. */
  h: PlanBuffer
  /** Queries, keys and values, [n_tokens, (n_heads + 2·n_kv_heads)·head_dim]. */
  qkv: PlanBuffer
  /** Attention's result, [n_tokens, n_heads·head_dim]. */
  a: PlanBuffer
  /** The feed-forward network's inside, [n_tokens, ffn]. */
  g: PlanBuffer
  rope: Rope
}

/** The weights of one layer, and its cache. */
export interface DecoderLayer {
  kv: PlanCache
  /** `blk.N.NAME.weight`, [rows, cols]. */
  matrix(name: string, rows: number, cols: number): Weight
  /** `blk.N.NAME`, f32 [length]. */
  vector(name: string, length: number): Weight
  optionalVector(name: string, length: number): Weight | undefined
}

export interface RecordedDecoder {
  config: ModelConfig
  plan: Plan
  /** Reads the output norm's weight, f32 [hidden_size], from the file. */
  outputNorm: () => Float32Array
}

/** The residual stream, [n_tokens, hidden_size]: after a step it holds every row's hidden state before the output norm. */
export const HIDDEN_BUFFER = "x"

/** Records the plan of a whole decoder: embedding, layers, output norm, logits of the wanted rows, sampling. */
export function recordDecoder(gguf: Gguf, family: ModelFamily): RecordedDecoder {
  const config = readConfig(gguf)
  const { hiddenSize, nLayers, nHeads, nKvHeads, headDim, ffn, nVocab, ropeDim } = config
  const p = new PlanBuilder({ eps: config.rmsEps })
  const w = new ModelWeights(gguf, p)

  // Nearly all ops need it anyway, so that keeping it for embeddings costs no memory.
  const x = p.buffer(HIDDEN_BUFFER, "tokens", hiddenSize, { pinned: true })
  const h = p.buffer("h", "tokens", hiddenSize)
  const qkv = p.buffer("qkv", "tokens", (nHeads + 2 * nKvHeads) * headDim)
  const a = p.buffer("a", "tokens", nHeads * headDim)
  const g = p.buffer("g", "tokens", ffn)
  const last = p.buffer("last", "outputs", hiddenSize)
  const lastNorm = p.buffer("last_norm", "outputs", hiddenSize)
  const logits = p.buffer("logits", "outputs", nVocab, { pinned: true })

  const { invFreq, magnitude } = ropeFrequencies(config, w.optionalValues("rope_freqs.weight", ropeDim / 2))
  const table = p.buffer("rope", "tokens", ropeDim)
  const rope = p.ropeTable(p.constant("rope.inv_freq", invFreq), table, { neox: family.neox, magnitude })

  const embedding = w.matrix("token_embd.weight", nVocab, hiddenSize)
  p.embed(embedding, x)
  for (let i = 0; i < nLayers; i++) {
    p.layer(i)
    family.layer(
      { config, p, x, h, qkv, a, g, rope },
      {
        kv: p.cache(`kv.${i}`, { nKvHeads, headDim }),
        matrix: (name, rows, cols) => w.matrix(`blk.${i}.${name}.weight`, rows, cols),
        vector: (name, length) => w.vector(`blk.${i}.${name}`, length),
        optionalVector: (name, length) => w.optionalVector(`blk.${i}.${name}`, length),
      },
    )
  }
  p.layer(undefined)
  p.gather(x, last)
  p.rmsNorm(last, w.vector("output_norm.weight", hiddenSize), lastNorm)
  const output = w.has("output.weight") ? w.matrix("output.weight", nVocab, hiddenSize) : embedding
  p.matmul(lastNorm, output, logits, w.optionalVector("output.bias", nVocab))
  p.sample(logits)
  w.assertAllUsed()
  return { config, plan: p.finish(), outputNorm: () => w.values("output_norm.weight", hiddenSize) }
}
