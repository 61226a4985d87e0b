import type { BlockPool } from "./kv-cache.ts"
import type { Sequence } from "./sequence.ts"

/** A stretch of one sequence that a step computes. */
export interface Slice {
  sequence: Sequence
  /** Rows of the step: the first `n_rows` tokens that the model has not seen. */
  n_rows: number
  /** The slice reaches the sequence's end, so that its last row's logits give the next token. */
  samples: boolean
}

export interface SchedulerLimits {
  /** Tokens of one step at most. */
  max_tokens: number
  /** Sequences that run together. */
  max_seqs: number
}

/**
 * Decides what each step computes: running sequences in the order of their arrival, those that decode before those that
 * read their prompt, so that a long prompt comes in chunks beside the others' tokens.
 */
export class Scheduler {
  readonly waiting: Sequence[] = []
  readonly running: Sequence[] = []

  constructor(
    readonly limits: SchedulerLimits,
    private readonly pool: BlockPool,
  ) {}

  add(sequence: Sequence): void {
    this.waiting.push(sequence)
  }

  /** Takes a sequence out, wherever it is, and frees its blocks. Safe twice. */
  remove(sequence: Sequence): void {
    for (const list of [this.waiting, this.running]) {
      const at = list.indexOf(sequence)
      if (at >= 0) list.splice(at, 1)
    }
    sequence.blocks?.release()
    sequence.blocks = undefined
  }

  /** The next step; empty when there is nothing to do. Blocks for its tokens are taken. */
  schedule(): Slice[] {
    this.#admit()
    let budget = this.limits.max_tokens
    const slices: Slice[] = []
    const decoding = (sequence: Sequence) => sequence.n_pending === 1
    for (const sequence of [
      ...this.running.filter(decoding),
      ...this.running.filter((sequence) => !decoding(sequence)),
    ]) {
      const n_rows = Math.min(sequence.n_pending, budget)
      if (n_rows === 0) break
      budget -= n_rows
      sequence.blocks?.grow(sequence.n_cached + n_rows)
      slices.push({ sequence, n_rows, samples: n_rows === sequence.n_pending })
    }
    return slices
  }

  /** First come, first served: one that does not fit keeps those behind it waiting. */
  #admit(): void {
    while (this.running.length < this.limits.max_seqs) {
      const next = this.waiting[0]
      if (!next) return
      const blocks = this.pool.admit(next.request.tokens.length + next.max_output)
      if (!blocks) return
      next.blocks = blocks
      this.waiting.shift()
      this.running.push(next)
    }
  }
}
