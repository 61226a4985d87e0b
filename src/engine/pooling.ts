/** Pooling of embeddings: a prompt's hidden states, after the output norm, become one vector, or stay one for each token. */

import { EngineError } from "../errors.ts"
import type { Pooling } from "./types.ts"

/** Access to the hidden states of a finished step, and the output norm, which is still to be applied. */
export interface HiddenStates {
  /** Values of one row. */
  width: number
  /** Fills `out`, [n, width], with the last layer's output from row `row` on. Call it between steps only. */
  read(row: number, out: Float32Array): void
  /** Weight of the output norm, [width], and its epsilon. */
  norm: Float32Array
  eps: number
}

/** Pools one prompt's hidden states, chunk by chunk, in order. */
export class Pooler {
  /** [width], or with `none` [length, width]. */
  readonly #sum: Float64Array
  #seen = 0

  /** @param length Tokens of the whole prompt. */
  constructor(
    readonly hidden: HiddenStates,
    readonly pooling: Pooling,
    readonly length: number,
  ) {
    this.#sum = new Float64Array(hidden.width * (pooling === "none" ? length : 1))
  }

  /**
   * Adds `n` rows of the last step, from row `row` on.
   * @param position Position of the first one in the prompt; 0 starts again.
   */
  add(row: number, n: number, position: number): void {
    if (position === 0) {
      this.#sum.fill(0)
      this.#seen = 0
    }
    const first = this.pooling === "last" ? Math.max(0, this.length - 1 - position) : 0
    const end = this.pooling === "cls" ? Math.min(n, Math.max(0, 1 - position)) : n
    const nUsed = Math.max(0, end - first)
    const rows = new Float32Array(nUsed * this.hidden.width)
    if (nUsed > 0) this.hidden.read(row + first, rows)
    for (let i = 0; i < nUsed; i++) {
      const to = this.pooling === "none" ? position + i : 0
      this.#addRow(rows.subarray(i * this.hidden.width, (i + 1) * this.hidden.width), to * this.hidden.width)
    }
    this.#seen += n
  }

  /** f32 [width], or with `none` [length, width]. @throws EngineError where rows are missing or not finite. */
  result(): Float32Array {
    if (this.#seen !== this.length) throw new EngineError(`only ${this.#seen} of ${this.length} tokens were pooled`)
    const squares = this.#sum.reduce((sum, value) => sum + value * value, 0)
    if (!(squares > 0 && Number.isFinite(squares)))
      throw new EngineError(
        "the model's embedding is NaN or zero; the weights or the input are broken, so check the model file",
      )
    const rows = this.pooling === "mean" ? this.length : 1
    return Float32Array.from(this.#sum, (value) => value / rows)
  }

  /** Adds one row, at `at` of the sum, after RMS norm, as the plan's last norm: x / √(mean(x²) + eps) · weight (Zhang and Sennrich 2019). */
  #addRow(x: Float32Array, at: number): void {
    const { norm, eps, width } = this.hidden
    let squares = 0
    for (let i = 0; i < width; i++) squares += (x[i] as number) ** 2
    const scale = 1 / Math.sqrt(squares / width + eps)
    for (let i = 0; i < width; i++) (this.#sum[at + i] as number) += (x[i] as number) * scale * (norm[i] as number)
  }
}
