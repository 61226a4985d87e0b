/**
 * ROPE_STORE: the test reads Q, normalized and rotated in place, and checks K and V through ATTENTION over the cache.
 * In an f16 or q8_0 cache a rotated key may be rounded differently from the float64 reference, so the tolerance is wider there.
 */

import { CACHE_GROUP } from "../../src/native/ops.ts"
import { gains } from "../support/kernel-data.ts"
import { pagedCase } from "../support/kernel-paged.ts"
import { type KernelCase, kernelCases } from "../support/kernel-suite.ts"

const GROUPS = [
  { heads: 2, kvHeads: 2 },
  { heads: 9, kvHeads: 3 },
  { heads: 8, kvHeads: 1 },
]
const STYLES = ["neox", "adjacent"] as const
const DTYPES = ["f32", "f16", "q8_0"] as const
const ROUNDED_TOLERANCE = 1e-3

const whole = GROUPS.flatMap((group) =>
  [32, 64, 80, 96, 128].flatMap((headDim) =>
    STYLES.flatMap((style) =>
      DTYPES.filter((dtype) => headDim % CACHE_GROUP[dtype] === 0).map((dtype): KernelCase => {
        const shape = `${group.heads}:${group.kvHeads} heads of ${headDim}, ${style}, cache ${dtype}`
        const rotation = { ropeDim: headDim, style }
        const steps = [
          [19, 5],
          [1, 1],
          [0, 2],
        ]
        const tolerance = dtype === "f32" ? undefined : ROUNDED_TOLERANCE
        return { name: shape, shape, make: () => pagedCase({ ...group, headDim, dtype, rotation, steps, tolerance }) }
      }),
    ),
  ),
)
kernelCases("ROPE_STORE", "ROPE_STORE", whole)

const partial = [2, 16, 32, 62].flatMap((ropeDim) =>
  STYLES.map((style): KernelCase => {
    const shape = `rope_dim ${ropeDim} of 64, ${style}`
    const rotation = { ropeDim, style }
    const heads = { heads: 6, kvHeads: 2, headDim: 64 }
    return {
      name: shape,
      shape,
      make: () =>
        pagedCase({
          ...heads,
          dtype: "f32",
          rotation,
          steps: [
            [17, 1],
            [2, 3],
          ],
        }),
    }
  }),
)
kernelCases("ROPE_STORE, partial", "ROPE_STORE", partial)

const norms = [
  { name: "Q and K normalized", q: true, k: true },
  { name: "Q alone normalized", q: true, k: false },
  { name: "K alone normalized", q: false, k: true },
].flatMap(({ name, q, k }) =>
  [64, 80, 128].flatMap((headDim) =>
    STYLES.map((style): KernelCase => {
      const make = () => {
        const rotation = {
          ropeDim: headDim,
          style,
          ...(q ? { qNorm: gains(headDim, 1) } : {}),
          ...(k ? { kNorm: gains(headDim, 2) } : {}),
        }
        return pagedCase({
          heads: 6,
          kvHeads: 2,
          headDim,
          dtype: "f32",
          rotation,
          steps: [
            [17, 2],
            [1, 1],
          ],
        })
      }
      return { name: `${name}, heads of ${headDim}, ${style}`, make }
    }),
  ),
)
kernelCases("ROPE_STORE, QK-norm", "ROPE_STORE", norms)

kernelCases(
  "ROPE_STORE, rows",
  "ROPE_STORE",
  [1, 2, 17, 512].map((rows): KernelCase => {
    const shape = `${rows} rows, 9:3 heads of 64`
    const rotation = { ropeDim: 64, style: "neox" as const }
    return {
      name: shape,
      shape,
      make: () => pagedCase({ heads: 9, kvHeads: 3, headDim: 64, dtype: "f32", rotation, steps: [[rows]] }),
    }
  }),
)
