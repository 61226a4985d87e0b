/** Sizes for the ops on rows, and cases in which every buffer has the step's rows. */

import { expectClose } from "./kernel-check.ts"
import type { OpSpec, WeightSpec } from "./kernel-program.ts"
import type { KernelCase, PreparedCase } from "./kernel-suite.ts"

export const ROW_COUNTS = [1, 2, 17, 512] as const
/** Below, at and above vector widths, and widths that no power of two divides. */
export const WIDTHS = [1, 3, 31, 33, 576, 1000] as const

/** Every pair of row count and width. */
export function shapes(rows: readonly number[] = ROW_COUNTS, widths: readonly number[] = WIDTHS) {
  return rows.flatMap((n) => widths.map((width) => ({ rows: n, width })))
}

export interface RowOp {
  rows: number
  width: number
  op: OpSpec
  weights?: readonly WeightSpec[]
  /** One array [rows, width] per input buffer, for buffers 0, 1, … */
  inputs: readonly Float32Array[]
  /** The result, [rows, width]; written to the buffer after the inputs, or to `outBuffer`. */
  want: Float64Array
  outBuffer?: number
  tolerance?: number
  flops?: number
}

/** An op over [rows, width] buffers, checked at the project's float32 standard. */
export function rowOp({ rows, width, op, weights, inputs, want, outBuffer, tolerance, flops }: RowOp): PreparedCase {
  const out = outBuffer ?? inputs.length
  const buffers = Array.from({ length: Math.max(inputs.length, out + 1) }, () => ({ rows: "tokens" as const, width }))
  return {
    program: { buffers, ops: [op], ...(weights ? { weights } : {}) },
    inputs: inputs.map((values, i) => [i, values] as const),
    step: (run) => run.rows(rows),
    check: (run) => expectClose(run.read(out, rows), want, { width, ...(tolerance ? { tolerance } : {}) }),
    work: { bytes: 4 * rows * width * (inputs.length + 1), flops: flops ?? rows * width },
  }
}

/** One case per shape, named after the shape. */
export function shapeCases(
  list: readonly { rows: number; width: number }[],
  make: (rows: number, width: number) => PreparedCase,
) {
  return list.map(
    ({ rows, width }): KernelCase => ({
      name: `${rows} × ${width}`,
      shape: `${rows} × ${width}`,
      make: () => make(rows, width),
    }),
  )
}
