/** ROPE: rotates each head of each row by the row's angles; both pair styles, and heads that are rotated only in part. */

import { OP_FLAGS } from "../../src/native/ops.ts"
import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { inverseFrequencies, type PairStyle, ropeTable, rotateHead } from "../support/kernel-rope.ts"
import { type KernelCase, kernelCases, type PreparedCase } from "../support/kernel-suite.ts"

interface Rope {
  rows: number
  heads: number
  headDim: number
  ropeDim?: number
  style?: PairStyle
  positions?: readonly number[]
  input?: Float32Array
  outBuffer?: number
  want?: Float64Array
}

function reference(
  input: Float32Array,
  table: Float32Array,
  { rows, heads, headDim, ropeDim = headDim, style = "neox" }: Rope,
) {
  const out = Float64Array.from(input)
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      rotateHead(out, (row * heads + head) * headDim, table, row * ropeDim, ropeDim, style)
    }
  }
  return out
}

function prepare(rope: Rope): PreparedCase {
  const { rows, heads, headDim, ropeDim = headDim, style = "neox", outBuffer = 2 } = rope
  const width = heads * headDim
  const positions = rope.positions ?? Array.from({ length: rows }, (_, i) => 3 * i + 1)
  const table = Float32Array.from(ropeTable(positions, inverseFrequencies(ropeDim)))
  const input = rope.input ?? normals(rows * width, rows + width)
  const want = rope.want ?? reference(input, table, rope)
  const heading = { rows: "tokens", width } as const
  return {
    program: {
      buffers: [heading, { rows: "tokens", width: ropeDim }, heading],
      ops: [
        {
          kind: "ROPE",
          flags: style === "neox" ? OP_FLAGS.neox : 0,
          buf: [0, 1, outBuffer],
          dim: [heads, headDim, ropeDim],
        },
      ],
    },
    inputs: [
      [0, input],
      [1, table],
    ],
    step: (run) => run.rows(rows),
    check: (run) => expectClose(run.read(outBuffer, rows), want, { width }),
    work: { bytes: 8 * rows * width, flops: 3 * rows * width },
  }
}

const cases = [1, 2, 17, 512].flatMap((rows) =>
  [32, 64, 80, 96, 128].flatMap((headDim) =>
    (["neox", "adjacent"] as const).map((style): KernelCase => {
      const heads = headDim === 64 ? 9 : 3
      const shape = `${rows} rows, ${heads} heads of ${headDim}, ${style}`
      return { name: shape, shape, make: () => prepare({ rows, heads, headDim, style }) }
    }),
  ),
)
kernelCases("ROPE", "ROPE", cases)

const partial = (["neox", "adjacent"] as const).flatMap((style) =>
  [2, 20, 32, 62].map((ropeDim): KernelCase => {
    const shape = `rope_dim ${ropeDim} of 64, ${style}`
    return { name: shape, shape, make: () => prepare({ rows: 5, heads: 3, headDim: 64, ropeDim, style }) }
  }),
)
kernelCases("ROPE, partial", "ROPE", [
  ...partial,
  { name: "in place", make: () => prepare({ rows: 7, heads: 3, headDim: 64, outBuffer: 0 }) },
])

const unit = (n: number, at: number) => new Float32Array(n).fill(1, at, at + 1)

/** Rotation does not change the length of any pair. */
function keepsLengths(): PreparedCase {
  const input = normals(8 * 128, 9)
  const prepared = prepare({ rows: 8, heads: 2, headDim: 64, input })
  const lengths = (values: ArrayLike<number>) =>
    Float64Array.from({ length: 512 }, (_, pair) => {
      const start = Math.floor(pair / 32) * 64 + (pair % 32)
      return Math.hypot(values[start] as number, values[start + 32] as number)
    })
  const check: PreparedCase["check"] = (run) => expectClose(lengths(run.read(2, 8)), lengths(input), { width: 64 })
  return { ...prepared, check }
}

/** The scalar product of two rotated vectors depends only on the distance between their positions. */
function dependsOnDistance(): PreparedCase {
  const positions = [0, 5, 100, 105]
  const query = normals(64, 1)
  const key = normals(64, 2)
  const input = Float32Array.of(...query, ...key, ...query, ...key)
  const prepared = prepare({ rows: 4, heads: 1, headDim: 64, positions, input })
  const check: PreparedCase["check"] = (run) => {
    const out = run.read(2, 4)
    const product = (a: number, b: number) => {
      let sum = 0
      for (let i = 0; i < 64; i++) sum += (out[a * 64 + i] as number) * (out[b * 64 + i] as number)
      return sum
    }
    expectClose([product(2, 3)], [product(0, 1)], { width: 1, scale: 64 })
  }
  return { ...prepared, check }
}

kernelCases("prototype: RoPE", "ROPE", [
  {
    name: "single head at position 0 is the identity",
    make: () => {
      const input = normals(64, 3)
      return prepare({ rows: 1, heads: 1, headDim: 64, positions: [0], input, want: Float64Array.from(input) })
    },
  },
  { name: "shifting both positions does not change the scalar product", make: dependsOnDistance },
  {
    name: "multiple heads are rotated alike",
    make: () => {
      const head = normals(32, 4)
      const one = reference(head, Float32Array.from(ropeTable([11], inverseFrequencies(32))), {
        rows: 1,
        heads: 1,
        headDim: 32,
      })
      const input = Float32Array.of(...head, ...head, ...head)
      return prepare({
        rows: 1,
        heads: 3,
        headDim: 32,
        positions: [11],
        input,
        want: Float64Array.of(...one, ...one, ...one),
      })
    },
  },
  {
    name: "known values: a unit vector at position 1 becomes (cos 1, sin 1)",
    make: () => {
      const want = new Float64Array(4)
      want[0] = Math.cos(1)
      want[2] = Math.sin(1)
      return prepare({ rows: 1, heads: 1, headDim: 4, positions: [1], input: unit(4, 0), want })
    },
  },
  { name: "rotation does not change the length of any pair", make: keepsLengths },
])
