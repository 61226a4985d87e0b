/**
 * Results agree when |got - want| ≤ tolerance · (|want| + scale).
 *
 * `scale` is the size of the summands: a result that cancels to nearly zero cannot be more exact than binary32 allows. The default
 * is the largest magnitude of the row; a case may give a better one (a matrix product gives the root sum square of its terms). The
 * tolerance is 1e-5 for float32 kernels.
 */
export const TOLERANCE = 1e-5

export interface CloseOptions {
  /** Elements of a row. */
  width: number
  tolerance?: number
  /** One scale per element, or one for all. Default: the row's largest magnitude. */
  scale?: ArrayLike<number> | number
  /** Name of the compared values, for the message. */
  what?: string
}

/** @throws Error naming the worst element. NaN and infinities must be equal. */
export function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, options: CloseOptions): void {
  const { width, tolerance = TOLERANCE, what = "output" } = options
  if (got.length !== want.length) throw new Error(`${what}: ${got.length} values, expected ${want.length}`)
  let worst = 0
  let worstAt = -1
  let misses = 0
  for (let start = 0; start < want.length; start += width) {
    const rowScale = options.scale === undefined ? largest(want, start, width) : 0
    for (let i = start; i < start + width; i++) {
      const error = excess(got[i] as number, want[i] as number, scaleOf(options.scale, i, rowScale))
      if (error > tolerance) misses++
      if (error > worst) {
        worst = error
        worstAt = i
      }
    }
  }
  if (worst <= tolerance) return
  const row = Math.floor(worstAt / width)
  throw new Error(
    `${what}: ${misses} of ${want.length} values are off; worst at row ${row}, column ${worstAt % width}: ` +
      `got ${got[worstAt]}, expected ${want[worstAt]} (relative ${worst.toExponential(2)}, allowed ${tolerance})`,
  )
}

function scaleOf(scale: CloseOptions["scale"], i: number, rowScale: number): number {
  if (scale === undefined) return rowScale
  return typeof scale === "number" ? scale : (scale[i] as number)
}

function excess(got: number, want: number, scale: number): number {
  if (Object.is(got, want) || got === want) return 0
  if (!Number.isFinite(got) || !Number.isFinite(want)) return Number.POSITIVE_INFINITY
  const size = Math.abs(want) + scale
  return size > 0 ? Math.abs(got - want) / size : Number.POSITIVE_INFINITY
}

function largest(values: ArrayLike<number>, start: number, width: number): number {
  let most = 0
  for (let i = start; i < start + width; i++) {
    const magnitude = Math.abs(values[i] as number)
    if (magnitude > most && magnitude < Number.POSITIVE_INFINITY) most = magnitude
  }
  return most
}

/** The relative difference of two results: ‖got - want‖ / ‖want‖. */
export function relativeDistance(got: ArrayLike<number>, want: ArrayLike<number>): number {
  let difference = 0
  let norm = 0
  for (let i = 0; i < want.length; i++) {
    difference += ((got[i] as number) - (want[i] as number)) ** 2
    norm += (want[i] as number) ** 2
  }
  return Math.sqrt(difference / norm)
}
