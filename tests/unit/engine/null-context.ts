import type { StepContext } from "../../../src/engine/engine.ts"
import { BLOCK_SIZE, RF_STEP_HEADER, RF_STEP_OUTPUT, RF_STEP_RESULT, RF_STEP_SEQ } from "../../../src/native/abi.ts"

/** The content of one step buffer. */
interface SeenStep {
  tokens: number[]
  seqs: { nRows: number; kv_len: number; blocks: number[] }[]
  outputs: { row: number; counter: number }[]
}

/**
 * A native context without a model. It checks each step as the real context does, and records it. The chosen token is the token of the
 * output's row plus 1, modulo 1000.
 */
export class NullContext implements StepContext {
  readonly seen: SeenStep[] = []
  closed = 0
  /** Called before each step; may throw. */
  before: (n: number) => void = () => {}
  /** Replaces a chosen token. */
  choose = (token: number): number => token

  constructor(readonly nBlocks: number) {}

  step(step: Uint32Array | Int32Array, nWords: number, results: ArrayBufferView): void {
    if (this.closed > 0) throw new Error("a closed context was stepped")
    this.before(this.seen.length)
    const words = Array.from(step.subarray(0, nWords))
    const at = (offset: number) => words[offset] ?? Number.NaN
    const header = (name: keyof typeof RF_STEP_HEADER.fields) => at(RF_STEP_HEADER.fields[name].offset / 4)
    const tokens = words.slice(header("off_tokens"), header("off_tokens") + header("n_tokens"))
    const blockIds = words.slice(header("off_blocks"), header("off_blocks") + header("n_block_ids"))
    const held = new Map<number, number>()
    const seqs = Array.from({ length: header("n_seqs") }, (_, i) => {
      const base = header("off_seqs") + (i * RF_STEP_SEQ.size) / 4
      const field = (name: keyof typeof RF_STEP_SEQ.fields) => at(base + RF_STEP_SEQ.fields[name].offset / 4)
      const start = field("block_start")
      const blocks = blockIds.slice(start, start + Math.ceil(field("kv_len") / BLOCK_SIZE))
      for (const id of blocks) {
        if (id >= this.nBlocks) throw new Error(`block ${id} of ${this.nBlocks}`)
        held.set(id, (held.get(id) ?? 0) + 1)
      }
      if (blocks.length * BLOCK_SIZE < field("kv_len")) throw new Error("a sequence has too few blocks")
      return { nRows: field("n_rows"), kv_len: field("kv_len"), blocks }
    })
    for (const { nRows, kv_len, blocks } of seqs) {
      const written = blocks.slice(Math.floor((kv_len - nRows) / BLOCK_SIZE))
      if (written.some((id) => held.get(id) !== 1)) throw new Error("a block is written that another sequence reads")
    }
    if (seqs.reduce((sum, { nRows }) => sum + nRows, 0) !== tokens.length) throw new Error("rows and tokens differ")
    const out = new Int32Array(results.buffer, results.byteOffset, results.byteLength / 4)
    const outputs = Array.from({ length: header("n_outputs") }, (_, i) => {
      const base = header("off_outputs") + (i * RF_STEP_OUTPUT.size) / 4
      const row = at(base + RF_STEP_OUTPUT.fields.row.offset / 4)
      const token = tokens[row] ?? Number.NaN
      out[(i * RF_STEP_RESULT.size) / 4] = this.choose((token + 1) % 1000)
      return { row, counter: at(base + RF_STEP_OUTPUT.fields.counter.offset / 4) }
    })
    this.seen.push({ tokens, seqs, outputs })
  }

  close(): void {
    this.closed++
  }
}
