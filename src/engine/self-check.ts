/**
 * At load, a GPU has to give the CPU's answer: an embedding, a quantized matrix product, a rotation with its cache, and attention, once
 * with many rows (matrix units) and once with one (mat-vec and split attention). About ten milliseconds; a GPU, driver or compiler
 * that computes wrongly is refused before it produces nonsense.
 */

import { formatNamed } from "../gguf/formats.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import { NativeError } from "../native/errors.ts"
import {
  type Compute,
  loadNative,
  type NativeContext,
  type NativeLibrary,
  type NativeModel,
} from "../native/library.ts"
import { STEP_HEADER_WORDS, STEP_SEQ_WORDS, Words, writeStepHeader, writeStepSeq } from "../native/step-structs.ts"
import { PlanBuilder } from "../plan/builder.ts"
import type { Plan } from "../plan/plan.ts"

const N_VOCAB = 64
const HIDDEN = 256
const N_HEADS = 4
const N_KV_HEADS = 2
const HEAD_DIM = 64
const QKV_WIDTH = (N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM
const N_ROWS = 32
const N_BLOCKS = 4
const CHECKED = ["qkv", "attention"] as const

/** Greatest difference, as a share of the greatest value: rounding of the inputs with room to spare. Faults are of another order. */
const TOLERANCE: Record<Compute, number> = { f32: 1e-3, f16: 1e-2, bf16: 5e-2 }

/** What the check asks of a library. */
export interface CheckedLibrary extends Pick<NativeLibrary, "deviceInfo"> {
  openModel(files: Parameters<NativeLibrary["openModel"]>[0]): {
    openContext(...options: Parameters<NativeModel["openContext"]>): Pick<NativeContext, "step" | "readBuffer">
    close(): void
  }
}

/** @throws NativeError `DEVICE` when the device's results are not the CPU backend's. */
export function selfCheck(library: CheckedLibrary, device: number, compute: Compute): void {
  const plan = recordCheck()
  const expected = runCheck(loadNative("cpu"), 0, plan, "f32")
  const found = runCheck(library, device, plan, compute)
  for (const [i, { what, values }] of expected.entries()) {
    const error = relativeError(values, found[i]?.values ?? new Float32Array())
    if (error <= TOLERANCE[compute]) continue
    const { name, arch } = library.deviceInfo(device)
    throw new NativeError(
      "DEVICE",
      `${name} (${arch}) computes wrongly: ${what} differs from the CPU's by ${error.toPrecision(2)} of its range`,
      "update the driver, build the libraries again (`bun run build --force`), or use `--device cpu`",
    )
  }
}

function recordCheck(): Plan {
  const random = generator()
  const p = new PlanBuilder()
  const table = p.constant("table", Float32Array.from({ length: N_VOCAB * HIDDEN }, random), N_VOCAB)
  const weight = p.weight("weight", formatNamed("Q4_0"), QKV_WIDTH, HIDDEN, {
    bytes: randomQ40(QKV_WIDTH * HIDDEN, random),
  })
  const frequencies = Float32Array.from({ length: HEAD_DIM / 2 }, (_, i) => 10_000 ** ((-2 * i) / HEAD_DIM))
  const x = p.buffer("x", "tokens", HIDDEN)
  const table2 = p.buffer("rope", "tokens", HEAD_DIM)
  const qkv = p.buffer("qkv", "tokens", QKV_WIDTH, { pinned: true })
  const attention = p.buffer("attention", "tokens", N_HEADS * HEAD_DIM, { pinned: true })
  const cache = p.cache("kv", { nKvHeads: N_KV_HEADS, headDim: HEAD_DIM })
  p.embed(table, x)
  const rope = p.ropeTable(p.constant("inv_freq", frequencies), table2, { neox: true })
  p.matmul(x, weight, qkv)
  p.ropeStore(qkv, cache, rope, { nHeads: N_HEADS })
  p.attention(qkv, cache, attention, { nHeads: N_HEADS })
  return p.finish()
}

interface Checked {
  what: string
  values: Float32Array
}

/** A prompt of N_ROWS tokens, then one more token. */
function runCheck(library: CheckedLibrary, device: number, plan: Plan, compute: Compute): Checked[] {
  const model = library.openModel({ device, paths: [], ...plan.packTensors() })
  try {
    const packed = plan.pack({ maxTokens: N_ROWS, maxOutputs: 1 })
    const limits = { maxTokens: N_ROWS, maxSeqs: 1, maxOutputs: 1, nBlocks: N_BLOCKS, blockSize: BLOCK_SIZE }
    const context = model.openContext({ nThreads: 1, ...limits, compute }, packed)
    const results = new Words(1)
    const checked: Checked[] = []
    for (const [nRows, length] of [
      [N_ROWS, N_ROWS],
      [1, N_ROWS + 1],
    ] as const) {
      const step = packStep(nRows, length)
      context.step(step.u32, step.length, results.u32)
      for (const name of CHECKED) {
        const id = packed.bufferIds.get(name)
        if (id === undefined) throw new RangeError(`the self-check's plan has no buffer ${name}`)
        const values = new Float32Array(nRows * (name === "qkv" ? QKV_WIDTH : N_HEADS * HEAD_DIM))
        context.readBuffer(id, 0, values)
        checked.push({ what: `${name === "qkv" ? "a matrix product" : "attention"} over ${nRows} rows`, values })
      }
    }
    return checked
  } finally {
    model.close()
  }
}

function packStep(nRows: number, length: number): Words {
  const offTokens = STEP_HEADER_WORDS
  const offSeqs = offTokens + nRows
  const offBlocks = offSeqs + STEP_SEQ_WORDS
  const words = new Words(offBlocks + N_BLOCKS)
  const none = { n_outputs: 0, off_outputs: 0, off_pairs: 0, n_pairs: 0, off_masks: 0, n_mask_words: 0 }
  writeStepHeader(words, {
    ...none,
    n_tokens: nRows,
    n_seqs: 1,
    off_tokens: offTokens,
    off_seqs: offSeqs,
    off_blocks: offBlocks,
    n_block_ids: N_BLOCKS,
  })
  for (let i = 0; i < nRows; i++) words.i32[offTokens + i] = (7 * (length - nRows + i) + 3) % N_VOCAB
  writeStepSeq(words, offSeqs, { row_start: 0, n_rows: nRows, kv_len: length, block_start: 0 })
  for (let i = 0; i < N_BLOCKS; i++) words.i32[offBlocks + i] = N_BLOCKS - 1 - i
  return words
}

function relativeError(expected: Float32Array, found: Float32Array): number {
  let range = 0
  let error = found.length === expected.length ? 0 : Number.POSITIVE_INFINITY
  for (const [i, value] of expected.entries()) {
    range = Math.max(range, Math.abs(value))
    const difference = Math.abs(value - (found[i] ?? Number.NaN))
    // A NaN compares with nothing, and must not pass.
    error = difference <= error ? error : Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference
  }
  return error / range
}

/** Numbers from -1 to 1, always the same ones (Marsaglia's xorshift32). */
function generator(): () => number {
  let state = 0x2545f491
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state / 2 ** 31
  }
}

/** Q4_0 blocks: a binary16 scale between 1/64 and 1/32, and sixteen bytes of nibbles. */
function randomQ40(n: number, random: () => number): Uint8Array {
  const blocks = new Uint8Array((n / 32) * 18)
  const view = new DataView(blocks.buffer)
  for (let at = 0; at < blocks.length; at += 18) {
    view.setUint16(at, 0x2400 + Math.floor(512 * (1 + random())), true)
    for (let i = 2; i < 18; i++) blocks[at + i] = Math.floor(128 * (1 + random()))
  }
  return blocks
}
