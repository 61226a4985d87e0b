import type { StepContext } from "../../../src/engine/engine.ts"
import { BLOCK_SIZE, RF_STEP_HEADER, RF_STEP_OUTPUT, RF_STEP_SEQ } from "../../../src/native/abi.ts"
import { STEP_RESULT_WORDS } from "../../../src/native/step-structs.ts"

/** Parameters of one output that the shadow model uses. */
interface Draw {
  seed: bigint
  counter: number
  /** Token and count of every penalty pair. */
  penalties: Iterable<readonly [token: number, count: number]>
}

interface ShadowLimits {
  nBlocks: number
  maxTokens: number
  maxSeqs: number
  max_outputs: number
}

export const SHADOW_VOCAB = 400

/**
 * A model without weights. The next token and its log-probability are a hash of all previous tokens and of the draw. With an odd seed,
 * most tokens depend only on the previous two, so that texts repeat and can be drafted.
 */
export function shadowModel(
  text: ArrayLike<number>,
  { seed, counter, penalties }: Draw,
): { token: number; logprob: number } {
  let hash = mix(Number(seed & 0xffffffffn) ^ mix(counter + 1))
  for (let i = 0; i < text.length; i++) hash = mix(hash ^ (text[i] as number))
  let pairs = 0
  for (const [token, count] of penalties) pairs = (pairs + mix((token << 8) ^ count)) >>> 0
  hash = mix(hash ^ pairs)
  const logprob = -(hash >>> 8) / 2 ** 20
  const [last = 0, before = 0] = [text[text.length - 1], text[text.length - 2]]
  const token = seed % 2n === 1n && hash % 16 > 0 ? (last * 7 + before * 3) % 13 : hash % SHADOW_VOCAB
  return { token, logprob }
}

function mix(n: number): number {
  let h = n | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/**
 * A native context over the shadow model. It stores the tokens written into each block, and reads texts back through the step's block
 * tables, so that a stale or wrongly shared block changes the next token.
 */
export class ShadowContext implements StepContext {
  /** Tokens by block and slot, [nBlocks, 16]. */
  readonly memory: Int32Array
  steps = 0
  rows = 0
  closed = 0
  /** Called before each step; may throw. */
  before: (step: number) => void = () => {}
  /** Replaces a token. */
  spoil = (token: number): number => token

  constructor(readonly limits: ShadowLimits) {
    this.memory = new Int32Array(16 * limits.nBlocks).fill(-1)
  }

  step(step: Uint32Array | Int32Array, nWords: number, results: ArrayBufferView): void {
    if (this.closed > 0) throw new Error("a closed context was stepped")
    this.before(this.steps++)
    const words = new Uint32Array(step.buffer, step.byteOffset, nWords)
    const at = (word: number): number => {
      if (!(word >= 0 && word < nWords)) throw new Error(`word ${word} of ${nWords}`)
      return words[word] as number
    }
    const header = (name: keyof typeof RF_STEP_HEADER.fields) => at(RF_STEP_HEADER.fields[name].offset / 4)
    const { maxTokens, maxSeqs, max_outputs, nBlocks } = this.limits
    const nTokens = header("n_tokens")
    this.rows += nTokens
    if (nTokens > maxTokens || header("n_seqs") > maxSeqs || header("n_outputs") > max_outputs)
      throw new Error(`${nTokens} tokens, ${header("n_seqs")} sequences, ${header("n_outputs")} outputs`)

    const seqs = Array.from({ length: header("n_seqs") }, (_, i) => {
      const base = header("off_seqs") + (i * RF_STEP_SEQ.size) / 4
      const field = (name: keyof typeof RF_STEP_SEQ.fields) => at(base + RF_STEP_SEQ.fields[name].offset / 4)
      const [kv_len, nRows, row_start, block_start] = [
        field("kv_len"),
        field("n_rows"),
        field("row_start"),
        field("block_start"),
      ]
      const blocks = Array.from({ length: Math.ceil(kv_len / BLOCK_SIZE) }, (_, k) =>
        at(header("off_blocks") + block_start + k),
      )
      if (blocks.some((id) => id >= nBlocks)) throw new Error("a block beyond the pool")
      if (new Set(blocks).size < blocks.length) throw new Error("a block stands twice in one table")
      return { kv_len, nRows, row_start, blocks }
    })
    this.#write(seqs, (row) => at(header("off_tokens") + row))

    const out = new Int32Array(results.buffer, results.byteOffset, results.byteLength / 4)
    const floats = new Float32Array(results.buffer, results.byteOffset, results.byteLength / 4)
    for (let i = 0; i < header("n_outputs"); i++) {
      const base = header("off_outputs") + (i * RF_STEP_OUTPUT.size) / 4
      const field = (name: keyof typeof RF_STEP_OUTPUT.fields) => at(base + RF_STEP_OUTPUT.fields[name].offset / 4)
      const seq = seqs.find(({ row_start, nRows }) => field("row") >= row_start && field("row") < row_start + nRows)
      if (!seq) throw new Error(`output ${i} names row ${field("row")}`)
      const length = seq.kv_len - seq.nRows + field("row") - seq.row_start + 1
      const text = Array.from({ length }, (_, p) => this.#slot(seq.blocks, p))
      const penalties = Array.from({ length: field("n_penalties") }, (_, k) => {
        const pair = header("off_pairs") + 2 * (field("penalty_start") + k)
        return [at(pair), at(pair + 1)] as const
      })
      const seed = (BigInt(field("seed_hi")) << 32n) | BigInt(field("seed_lo"))
      const { token, logprob } = shadowModel(text, { seed, counter: field("counter"), penalties })
      out[i * STEP_RESULT_WORDS] = this.spoil(token)
      floats[i * STEP_RESULT_WORDS + 1] = logprob
      out[i * STEP_RESULT_WORDS + 2] = 0
    }
  }

  close(): void {
    this.closed++
  }

  /** Writes the step's tokens. A written block must be in one table only. */
  #write(
    seqs: { kv_len: number; nRows: number; row_start: number; blocks: number[] }[],
    tokenOf: (row: number) => number,
  ) {
    const tables = new Map<number, number>()
    for (const { blocks } of seqs) for (const id of blocks) tables.set(id, (tables.get(id) ?? 0) + 1)
    let next = 0
    for (const { kv_len, nRows, row_start, blocks } of seqs) {
      if (row_start !== next) throw new Error("sequences do not cover the rows one after another")
      next += nRows
      for (let r = 0; r < nRows; r++) {
        const position = kv_len - nRows + r
        const id = blocks[position >> 4] as number
        if (tables.get(id) !== 1) throw new Error(`block ${id} is written by one sequence and belongs to another too`)
        this.memory[16 * id + (position & 15)] = tokenOf(row_start + r)
      }
    }
  }

  #slot(blocks: number[], position: number): number {
    return this.memory[16 * (blocks[position >> 4] as number) + (position & 15)] as number
  }
}
