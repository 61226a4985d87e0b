/** Records the plan of a decoder: embedding, the blocks of each layer, output norm, logits and sampling. */

import type { Gguf } from "../gguf/reader.ts"
import { PlanBuilder } from "../plan/builder.ts"
import type { PlanBuffer, Rope, Weight } from "../plan/operands.ts"
import type { Plan } from "../plan/plan.ts"
import { type LayerConfig, type ModelConfig, type RopeConfig, readConfig } from "./config.ts"
import { ModelError } from "./errors.ts"
import { ropeFrequencies } from "./rope.ts"
import { ModelWeights } from "./weights.ts"

/** A model family: the architectures it runs, and the blocks of their layers. */
export interface ModelFamily {
  /** Values of `general.architecture`. */
  architectures: readonly string[]
  /** Which dimensions of a head rotate together: (i, i + dim/2) in `neox`, (2i, 2i + 1) in `interleaved`. */
  rope: "neox" | "interleaved"
  /** The blocks of one layer, in order. @throws ModelError `unsupported` for a layer that they cannot run. */
  layer(layer: DecoderLayer): readonly Block[]
}

/** One layer: its hyper-parameters and its weights. */
export interface DecoderLayer extends LayerConfig {
  /** 0 … n_layers - 1. */
  index: number
  /** The tensor `blk.INDEX.NAME.weight`, [rows, cols]. */
  matrix(name: string, rows: number, cols: number): Weight
  /** The tensor `blk.INDEX.NAME`, f32 [length]. */
  vector(name: string, length: number): Weight
  /** As `vector`; `undefined` if the file does not have the tensor. */
  optionalVector(name: string, length: number): Weight | undefined
  /** The error for a feature of this layer that a block does not compute. */
  unsupported(problem: string): ModelError
}

/** One part of a layer, which adds its result to the residual stream: attention, or a feed-forward network. */
export interface Block<Name extends string = string> {
  /** Width of each activation buffer that the block works in. Blocks share a buffer of the same name and width. */
  buffers: Readonly<Record<Name, number>>
  /** Records the block's ops. @param buffers f32 [n_tokens, width] each. */
  record(decoder: Decoder, buffers: Readonly<Record<Name, PlanBuffer>>): void
}

/** What the blocks of a layer share. */
interface Decoder {
  p: PlanBuilder
  hiddenSize: number
  /** The residual stream, f32 [n_tokens, hidden_size]. */
  x: PlanBuffer
  /** The normalized residual stream, f32 [n_tokens, hidden_size]. */
  h: PlanBuffer
  /** The layer's table of cosines and sines. */
  rope: Rope
}

/** Turns the last token's hidden state, after the output norm, into scores: f32 [scores, hidden_size]. */
export interface RankHead {
  readonly weight: Float32Array
  readonly scores: number
}

interface RecordedDecoder {
  config: ModelConfig
  plan: Plan
  /** Reads the output norm's weight, f32 [hidden_size], from the file. */
  outputNorm: () => Float32Array
  rankHead: () => RankHead | undefined
}

/** The residual stream, f32 [n_tokens, hidden_size]: after a step it holds every row's hidden state before the output norm. */
export const HIDDEN_BUFFER = "x"

/** The head of a model that ranks texts, which is applied outside of the plan. */
const RANK_HEAD = "cls.output.weight"

/** @throws GgufError and ModelError for a file that is not a complete model of the family, or needs a feature that it does not have. */
export function recordDecoder(gguf: Gguf, family: ModelFamily): RecordedDecoder {
  const config = readConfig(gguf)
  const { hiddenSize, nVocab } = config
  const p = new PlanBuilder({ eps: config.rmsEps })
  const w = new ModelWeights(gguf, p)
  const layers = config.layers.map((layer, index) => decoderLayer(gguf, w, layer, index))
  const blocks = layers.map((layer) => family.layer(layer))

  // `x` is live from the first op to the last but a few, so pinning it for embeddings costs no memory.
  const x = p.buffer(HIDDEN_BUFFER, "tokens", hiddenSize, { pinned: true })
  const h = p.buffer("h", "tokens", hiddenSize)
  const buffersOf = declareBuffers(p, blocks.flat())
  const last = p.buffer("last", "outputs", hiddenSize)
  const lastNorm = p.buffer("last_norm", "outputs", hiddenSize)
  const logits = p.buffer("logits", "outputs", nVocab, { pinned: true })

  const ropes = recordRopeTables(p, w, config, family)
  const embedding = w.matrix("token_embd.weight", nVocab, hiddenSize)
  p.embed(embedding, x)
  for (const [i, layer] of layers.entries()) {
    p.layer(i)
    const decoder = { p, hiddenSize, x, h, rope: ropes.get(layer.rope) as Rope }
    for (const block of blocks[i] ?? []) block.record(decoder, buffersOf(block))
  }
  p.layer(undefined)
  p.gather(x, last)
  p.rmsNorm(last, w.vector("output_norm.weight", hiddenSize), lastNorm)
  const output = w.has("output.weight") ? w.matrix("output.weight", nVocab, hiddenSize) : embedding
  p.matmul(lastNorm, output, logits, w.optionalVector("output.bias", nVocab))
  p.sample(logits)
  if (config.pooling === "rank") w.leave(RANK_HEAD)
  w.assertAllUsed()
  const scores = config.pooling === "rank" ? gguf.tensors.get(RANK_HEAD)?.shape[1] : undefined
  return {
    config,
    plan: p.finish(),
    outputNorm: () => w.values("output_norm.weight", hiddenSize),
    rankHead: () => (scores === undefined ? undefined : { scores, weight: w.values(RANK_HEAD, scores, hiddenSize) }),
  }
}

function decoderLayer(gguf: Gguf, w: ModelWeights, config: LayerConfig, index: number): DecoderLayer {
  return {
    ...config,
    index,
    matrix: (name, rows, cols) => w.matrix(`blk.${index}.${name}.weight`, rows, cols),
    vector: (name, length) => w.vector(`blk.${index}.${name}`, length),
    optionalVector: (name, length) => w.optionalVector(`blk.${index}.${name}`, length),
    unsupported: (problem) => new ModelError("unsupported", gguf.path, `layer ${index}: ${problem}`),
  }
}

/** A buffer for each name and width that the blocks use. The first width of a name has that name; another width N has `NAME.N`. */
function declareBuffers(p: PlanBuilder, blocks: readonly Block[]): (block: Block) => Record<string, PlanBuffer> {
  const buffers = new Map<string, PlanBuffer>()
  const names = new Set<string>()
  for (const [name, width] of blocks.flatMap((block) => Object.entries(block.buffers))) {
    const key = `${name}.${width}`
    if (buffers.has(key)) continue
    buffers.set(key, p.buffer(names.has(name) ? key : name, "tokens", width))
    names.add(name)
  }
  return (block) =>
    Object.fromEntries(
      Object.entries(block.buffers).map(([name, width]) => [name, buffers.get(`${name}.${width}`) as PlanBuffer]),
    )
}

/** A table of cosines and sines for each rotation that the layers use, computed before the first layer. Most models have one. */
function recordRopeTables(
  p: PlanBuilder,
  w: ModelWeights,
  { layers }: ModelConfig,
  family: ModelFamily,
): Map<RopeConfig, Rope> {
  const tables = new Map<RopeConfig, Rope>()
  for (const rope of new Set(layers.map((layer) => layer.rope))) {
    const suffix = tables.size === 0 ? "" : `.${tables.size + 1}`
    const factors = rope.freqFactors ? w.values("rope_freqs.weight", rope.dim / 2) : undefined
    const { invFreq, magnitude } = ropeFrequencies(rope, factors)
    const table = p.buffer(`rope${suffix}`, "tokens", rope.dim)
    const neox = family.rope === "neox"
    tables.set(rope, p.ropeTable(p.constant(`rope.inv_freq${suffix}`, invFreq), table, { neox, magnitude }))
  }
  return tables
}
