/**
 * ATTENTION over the paged cache with shuffled block tables. Keys are stored unrotated here, so an f16 cache holds exactly the halves
 * of the reference, and a q8_0 cache its quants and scales. The tolerance is therefore 1e-5, as for float32.
 */

import { expect, test } from "bun:test"
import { CACHE_GROUP, type Dtype, OP_FLAGS } from "../../src/native/ops.ts"
import { expectClose } from "../support/kernel-check.ts"
import { normals } from "../support/kernel-data.ts"
import { openProgram } from "../support/kernel-harness.ts"
import { type Paged, pagedCase } from "../support/kernel-paged.ts"
import { benchCases, type KernelCase, kernelCases, onEveryBackend } from "../support/kernel-suite.ts"

const GROUPS = [
  { heads: 3, kvHeads: 3 },
  { heads: 9, kvHeads: 3 },
  { heads: 8, kvHeads: 1 },
]
const DTYPES = ["f32", "f16", "q8_0"] as const

const table = GROUPS.flatMap((group) =>
  [32, 64, 80, 96, 128].flatMap((headDim) =>
    DTYPES.filter((dtype) => headDim % CACHE_GROUP[dtype] === 0).flatMap((dtype) =>
      [1, 2, 17].map((rows): KernelCase => {
        const shape = `${rows} rows after 37, ${group.heads}:${group.kvHeads} heads of ${headDim}`
        const make = () => pagedCase({ ...group, headDim, dtype, steps: [[37], [rows]] })
        return { name: `${shape}, cache ${dtype}`, shape, format: dtype.toUpperCase(), make }
      }),
    ),
  ),
)
kernelCases("ATTENTION", "ATTENTION", table)

const heads = { heads: 9, kvHeads: 3, headDim: 64 }
const scenario = (name: string, paged: Partial<Paged> & Pick<Paged, "steps">): KernelCase[] =>
  DTYPES.map((dtype) => ({
    name: `${name}, cache ${dtype}`,
    shape: name,
    format: dtype.toUpperCase(),
    make: () => pagedCase({ ...heads, dtype, ...paged }),
  }))

kernelCases("ATTENTION, prefill and decode", "ATTENTION", [
  ...scenario("512 rows at once", { steps: [[512]] }),
  ...scenario("512 rows, 8:1 heads of 128", { steps: [[512]], heads: 8, kvHeads: 1, headDim: 128 }),
  ...scenario("1 row after 600", { steps: [[300], [300], [1]] }),
  ...scenario("8 sequences decode at lengths 1 … 200", {
    steps: [
      [0, 1, 15, 16, 17, 33, 100, 199],
      [1, 1, 1, 1, 1, 1, 1, 1],
    ],
  }),
  ...scenario("decode rows beside a prefill of 130", {
    steps: [
      [40, 7, 0, 90],
      [1, 1, 130, 1],
      [1, 2, 1, 17],
    ],
  }),
  ...scenario("a prompt of 97 in chunks of 7", { steps: [...Array.from({ length: 13 }, () => [7]), [6]] }),
  ...scenario("48 rows one by one", { steps: Array.from({ length: 48 }, () => [1]) }),
  ...scenario("chunks of 1, 16, 31 and 2 beside a second sequence", {
    steps: [
      [1, 20],
      [16, 0],
      [31, 3],
      [2, 1],
    ],
  }),
])

benchCases("ATTENTION, long context", "ATTENTION", [
  ...scenario("1 row after 4095, 32:8 heads of 128", { heads: 32, kvHeads: 8, headDim: 128, steps: [[4095], [1]] }),
  ...scenario("8 decode rows at 512, 32:8 heads of 128", {
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    steps: [Array.from({ length: 8 }, () => 511), Array.from({ length: 8 }, () => 1)],
  }),
])

kernelCases("ATTENTION, window", "ATTENTION", [
  ...[1, 8, 16, 17, 64].flatMap((window) =>
    scenario(`window ${window}, 70 rows then 3`, { window, steps: [[70], [3], [1]] }),
  ),
  ...scenario("window longer than the sequence", { window: 1000, steps: [[70], [3]] }),
  ...scenario("window 33 over 8 sequences", {
    window: 33,
    steps: [
      [5, 32, 33, 34, 70, 1, 16, 100],
      [1, 1, 1, 4, 1, 1, 1, 17],
    ],
  }),
])

kernelCases("ATTENTION, softcap and scale", "ATTENTION", [
  ...[1, 5, 50].flatMap((softcap) => scenario(`softcap ${softcap}`, { softcap, scale: 1, steps: [[33], [2]] })),
  ...scenario("softcap with a window", { softcap: 10, window: 16, scale: 0.5, steps: [[50], [1]] }),
  ...scenario("scale 0.02", { scale: 0.02, steps: [[33], [2]] }),
])

kernelCases("ATTENTION, threads", "ATTENTION", [
  ...[1, 3, 8].flatMap((nThreads) =>
    scenario(`${nThreads} threads`, {
      nThreads,
      steps: [
        [60, 9],
        [1, 1],
        [17, 1],
      ],
    }),
  ),
])

onEveryBackend("ATTENTION, isolation", (backend) => {
  const width = 3 * 32
  const program = (dtype: Dtype) => ({
    buffers: [
      { rows: "tokens" as const, width },
      { rows: "tokens" as const, width: 32 },
      { rows: "tokens" as const, width: 32 },
    ],
    caches: [{ kvHeads: 1, headDim: 32, dtype }],
    ops: [
      { kind: "ROPE_STORE" as const, flags: OP_FLAGS.neox, buf: [0, 1], dim: [1, 1, 32, 32], cache: 0 },
      { kind: "ATTENTION" as const, buf: [0, 2], dim: [1, 1, 32, 0], f: [0.2], cache: 0 },
    ],
  })
  const still = (rows: number) => Float32Array.from({ length: rows * 32 }, (_, i) => (i % 32 < 16 ? 1 : 0))

  for (const dtype of DTYPES) {
    test(`a NaN that another sequence wrote to a block does not reach this one, cache ${dtype}`, () => {
      using run = openProgram(backend, program(dtype))
      const blocks = run.blocks(32)
      const decode = (): Float32Array => {
        run.write(1, still(32))
        run.write(0, normals(21 * width, 1))
        run.step({ sequences: [{ rows: 21, kvLen: 21, blocks }] })
        return run.read(2, 21)
      }
      const clean = decode()
      run.write(0, new Float32Array(32 * width).fill(Number.NaN))
      run.step({ sequences: [{ rows: 32, kvLen: 32, blocks }] })
      expectClose(decode(), Float64Array.from(clean), { width: 32, tolerance: 0 })
      expect(clean.every(Number.isFinite)).toBe(true)
    })

    test(`a NaN in a row's own values reaches its output; values beyond f16's range saturate, cache ${dtype}`, () => {
      using run = openProgram(backend, program(dtype))
      const blocks = run.blocks(32)
      const value = (row: number) => row * width + 64
      const decode = (element: number): Float32Array => {
        const qkv = normals(21 * width, 4)
        qkv[value(3)] = element // element 0 of V's row 3
        run.write(1, still(32))
        run.write(0, qkv)
        run.step({ sequences: [{ rows: 21, kvLen: 21, blocks }] })
        return run.read(2, 21)
      }
      expect(decode(Number.NaN)[20 * 32]).toBeNaN()
      const great = decode(1e9)
      expect(great.every(Number.isFinite)).toBe(true)
      if (dtype === "f32") expect(great[20 * 32]).toBeGreaterThan(65504)
      else expect(great[20 * 32]).toBeWithin(100, 65505)
    })

    test(`a row's result does not depend on the other sequences of the step, cache ${dtype}`, () => {
      using run = openProgram(backend, program(dtype))
      const [first, second] = [run.blocks(40), run.blocks(40)]
      run.write(1, still(40))
      run.write(0, normals(9 * width, 2))
      run.step({ sequences: [{ rows: 9, blocks: first }] })
      const alone = run.read(2, 9)
      run.write(0, normals(40 * width, 3))
      run.write(0, normals(9 * width, 2), 31)
      run.step({
        sequences: [
          { rows: 31, blocks: second },
          { rows: 9, blocks: first },
        ],
      })
      expectClose(run.read(2, 40).subarray(31 * 32), Float64Array.from(alone), { width: 32, tolerance: 1e-6 })
    })
  }
})
