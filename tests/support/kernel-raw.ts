/** The C ABI without the objects of src/native/library.ts, for tests with arguments that those objects would reject. */

import { RF_CONTEXT_DESC, RF_STEP_RESULT } from "../../src/native/abi.ts"
import { libraryPath } from "../../src/native/library.ts"
import { OP_FLAGS } from "../../src/native/ops.ts"
import { openSymbols, type Symbols, stablePointer } from "../../src/native/symbols.ts"
import type { Backend } from "./kernel-harness.ts"
import {
  DEFAULT_LIMITS,
  floatWeight,
  type Limits,
  type Program,
  packBuffers,
  packCaches,
  packOps,
  packWeights,
  Records,
  type WeightSpec,
} from "./kernel-program.ts"
import { type PackedStep, packStep, type StepSpec } from "./kernel-step.ts"
import { randomWeight } from "./kernel-weights.ts"

const opened = new Map<Backend, Symbols>()

export function rawSymbols(backend: Backend): Symbols {
  const symbols = opened.get(backend) ?? openSymbols(libraryPath(backend))
  opened.set(backend, symbols)
  return symbols
}

export const LIMITS: Limits = { ...DEFAULT_LIMITS, nThreads: 1, maxTokens: 32, maxSeqs: 4, maxOutputs: 4, nBlocks: 8 }

/** All records for opening a model and a context; a test may corrupt any of them. */
export function packAll(program: Program, limits: Limits = LIMITS) {
  const { tensors, constants } = packWeights(program.weights ?? [])
  const { records: buffers, arenaBytes } = packBuffers(program.buffers, limits)
  const desc = new Records(RF_CONTEXT_DESC, 1).write(0, {
    n_threads: limits.nThreads,
    max_tokens: limits.maxTokens,
    max_seqs: limits.maxSeqs,
    max_outputs: limits.maxOutputs,
    n_blocks: limits.nBlocks,
    block_size: limits.blockSize,
    arena_bytes: arenaBytes,
  })
  const caches = packCaches(program.caches ?? [])
  return { tensors, constants, buffers, caches, ops: packOps(program.ops), desc }
}

export type Packed = ReturnType<typeof packAll>

export function openRawModel(symbols: Symbols, { tensors, constants }: Packed, device = 0): bigint {
  const handle = new BigUint64Array(1)
  const none = new Uint8Array(1)
  symbols.rf_model_open(device, 0, none, 0, 0, tensors.bytes, tensors.count, constants, constants.length, handle)
  return handle[0] as bigint
}

export function openRawContext(symbols: Symbols, model: bigint, { desc, ops, buffers, caches }: Packed): bigint {
  const handle = new BigUint64Array(1)
  symbols.rf_context_open(
    model,
    desc.bytes,
    ops.bytes,
    ops.count,
    buffers.bytes,
    buffers.count,
    caches.bytes,
    caches.count,
    handle,
  )
  return handle[0] as bigint
}

/** The model and the context of a program; one call closes both. */
export class RawContext implements Disposable {
  readonly model: bigint
  readonly context: bigint

  constructor(
    readonly symbols: Symbols,
    packed: Packed,
  ) {
    this.model = openRawModel(symbols, packed)
    try {
      this.context = openRawContext(symbols, this.model, packed)
    } catch (error) {
      symbols.rf_model_close(this.model)
      throw error
    }
  }

  /** Runs a packed step, or only its first `nWords` words; returns the chosen tokens. */
  step({ words, sections }: PackedStep, nWords = words.length, maxResults = sections.n_outputs): number[] {
    const results = new Int32Array(((maxResults + 1) * RF_STEP_RESULT.size) / 4)
    this.symbols.rf_step(this.context, stablePointer(words.u32), nWords, stablePointer(results), maxResults)
    return Array.from({ length: sections.n_outputs }, (_, i) => results[(i * RF_STEP_RESULT.size) / 4] as number)
  }

  [Symbol.dispose](): void {
    this.symbols.rf_context_close(this.context)
    this.symbols.rf_model_close(this.model)
  }
}

/** Indices of the ops of `transformer()`. */
export const OP = {
  embed: 0,
  norm: 1,
  table: 2,
  qkv: 3,
  store: 4,
  attention: 5,
  residual: 6,
  swiglu: 7,
  down: 8,
  gather: 9,
  head: 10,
  sample: 11,
  scale: 12,
  add: 13,
  mask: 14,
  softmax: 15,
  rope: 16,
  gate: 17,
  dense: 18,
} as const

export const VOCAB = 40

let weights: readonly WeightSpec[] | undefined

function transformerWeights(): WeightSpec[] {
  const float = (rows: number, cols: number) => floatWeight(new Float32Array(rows * cols).fill(0.01), cols)
  return [
    randomWeight("F32", VOCAB, 64, 1),
    float(1, 64),
    randomWeight("Q8_0", 64, 64, 2),
    randomWeight("Q4_1", 32, 64, 3),
    randomWeight("F16", 32, 64, 4),
    float(1, 64),
    float(1, 16),
    randomWeight("F32", 64, 64, 5),
    randomWeight("Q4_0", 96, 64, 6),
    randomWeight("Q5_0", 96, 64, 7),
    randomWeight("F32", 64, 96, 8),
    randomWeight("F32", VOCAB, 64, 9),
    float(1, 32),
  ]
}

/** A plan with each op once: a one-layer transformer (width 64, 2:1 heads of 32), and elementary ops on separate buffers. */
export function transformer(): Program {
  weights ??= transformerWeights()
  return {
    weights,
    buffers: [
      { rows: "tokens", width: 64 },
      { rows: "tokens", width: 64 },
      { rows: "tokens", width: 128 },
      { rows: "tokens", width: 32 },
      { rows: "tokens", width: 64 },
      { rows: "tokens", width: 96 },
      { rows: "outputs", width: 64 },
      { rows: "outputs", width: VOCAB },
      { rows: 4, width: 6 },
      { rows: 4, width: 6 },
      { rows: 4, width: 64 },
      { rows: 6, width: 32 },
      { rows: 6, width: 32 },
      { rows: 4, width: 64 },
    ],
    caches: [{ kvHeads: 1, headDim: 32, dtype: "f16" }],
    ops: [
      { kind: "EMBED", buf: [0], tensor: [0], f: [1] },
      { kind: "RMS_NORM", buf: [0, 1], tensor: [1], f: [1e-5] },
      { kind: "ROPE_TABLE", buf: [3], tensor: [6], f: [1] },
      { kind: "MATMUL", buf: [1, 2], tensor: [2, 3, 4, 5] },
      {
        kind: "ROPE_STORE",
        buf: [2, 3],
        tensor: [12, 12],
        dim: [2, 1, 32, 32],
        f: [1e-5],
        cache: 0,
        flags: OP_FLAGS.neox,
      },
      { kind: "ATTENTION", buf: [2, 4], dim: [2, 1, 32, 0], f: [0.18, 0], cache: 0 },
      { kind: "MATMUL", buf: [4, 0], tensor: [7], flags: OP_FLAGS.add },
      { kind: "MATMUL_SWIGLU", buf: [1, 5], tensor: [8, 9] },
      { kind: "MATMUL", buf: [5, 0], tensor: [10], flags: OP_FLAGS.add },
      { kind: "GATHER", buf: [0, 6] },
      { kind: "MATMUL", buf: [6, 7], tensor: [11] },
      { kind: "SAMPLE", buf: [7], dim: [VOCAB] },
      { kind: "SCALE", buf: [8, 9], f: [2] },
      { kind: "ADD", buf: [8, 8, 9] },
      { kind: "CAUSAL_MASK", buf: [8, 9], dim: [2, 6] },
      { kind: "SOFTMAX", buf: [8, 9] },
      { kind: "ROPE", buf: [1, 3, 4], dim: [2, 32, 32], flags: OP_FLAGS.neox },
      { kind: "SWIGLU", buf: [8, 8, 9] },
      { kind: "ATTENTION_DENSE", buf: [10, 11, 12, 13], dim: [2, 1, 32], f: [0.18], flags: OP_FLAGS.causal },
    ],
  }
}

/** A valid step for `transformer()`: a prefill of 20 tokens and a decode at position 18, with one output each. */
export function validStep(change: Partial<StepSpec> = {}): PackedStep {
  return packStep({
    sequences: [
      { rows: 20, blocks: [5, 2] },
      { rows: 1, kvLen: 18, blocks: [0, 7] },
    ],
    tokens: Array.from({ length: 21 }, (_, i) => (i * 7) % VOCAB),
    outputs: [
      { row: 19, penalties: [[3, 1]], biases: [[4, 0.5]] },
      { row: 20, mask: Uint32Array.of(0xffff, 0xff), temperature: 0.5 },
    ],
    ...change,
  })
}
