/** Embeddings: a text's hidden states after the output norm, pooled to one vector of length 1. */

import { EngineError } from "../errors.ts"
import type { Pooling } from "./types.ts"

/** Where the hidden states of a step's rows can be read once it is done, and what is left to do to them. */
export interface HiddenStates {
  /** Numbers of one row. */
  width: number
  /** Fills `out`, [n, width], with the rows from `row` on as the last layer left them. Between steps only. */
  read(row: number, out: Float32Array): void
  /** The output norm, [width], and what it adds to the mean of the squares. */
  norm: Float32Array
  eps: number
}

/** Pools one text's hidden states while its rows come, in chunks and in their order. */
export class Pooler {
  readonly #sum: Float64Array
  #seen = 0

  /** @param length Rows of the whole text. */
  constructor(
    readonly hidden: HiddenStates,
    readonly pooling: Pooling,
    readonly length: number,
  ) {
    this.#sum = new Float64Array(hidden.width)
  }

  /**
   * Takes rows `row` to `row + n` of the step that was run.
   * @param position The first one's place in the text; 0 begins anew.
   */
  add(row: number, n: number, position: number): void {
    if (position === 0) {
      this.#sum.fill(0)
      this.#seen = 0
    }
    const first = this.pooling === "last" ? Math.max(0, this.length - 1 - position) : 0
    const end = this.pooling === "cls" ? Math.min(n, Math.max(0, 1 - position)) : n
    const wanted = Math.max(0, end - first)
    const rows = new Float32Array(wanted * this.hidden.width)
    if (wanted > 0) this.hidden.read(row + first, rows)
    for (let i = 0; i < wanted; i++) this.#addRow(rows.subarray(i * this.hidden.width, (i + 1) * this.hidden.width))
    this.#seen += n
  }

  /** f32 [width], of length 1. @throws EngineError where rows are missing, or hold what is no number. */
  result(): Float32Array {
    if (this.#seen !== this.length) throw new EngineError(`${this.#seen} of ${this.length} rows were pooled`)
    const length = Math.sqrt(this.#sum.reduce((sum, value) => sum + value * value, 0))
    if (!(length > 0 && Number.isFinite(length)))
      throw new EngineError("the model gave no usable embedding (NaN or zeros); the weights or the input are broken")
    return Float32Array.from(this.#sum, (value) => value / length)
  }

  /** RMS norm as the plan's last one: x / √(mean(x²) + eps) · weight (Zhang and Sennrich 2019). */
  #addRow(x: Float32Array): void {
    const { norm, eps, width } = this.hidden
    let squares = 0
    for (let i = 0; i < width; i++) squares += (x[i] as number) ** 2
    const scale = 1 / Math.sqrt(squares / width + eps)
    for (let i = 0; i < width; i++) (this.#sum[i] as number) += (x[i] as number) * scale * (norm[i] as number)
  }
}
