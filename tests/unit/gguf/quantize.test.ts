import { describe, expect, test } from "bun:test"
import { join } from "node:path"
import { FORMATS, type FormatName, findFormat, formatNamed, rowBytes, typeName } from "../../../src/gguf/formats.ts"
import { quantize } from "../../../src/gguf/quantize.ts"
import { decodeBlocks } from "../../support/decode-blocks.ts"
import { randomNormals } from "../../support/gguf-fixtures.ts"
import { firstDifference, goldenBlocks } from "../../support/golden-formats.ts"

/** Upper bound of the relative root-mean-square error of a round trip of normal random values. */
const BOUNDS: Record<FormatName, number> = {
  F32: 0,
  F16: 0.0003,
  BF16: 0.002,
  Q8_0: 0.008,
  Q6_K: 0.025,
  Q5_1: 0.04,
  Q5_K: 0.04,
  Q5_0: 0.05,
  Q4_1: 0.09,
  Q4_K: 0.09,
  Q4_0: 0.11,
  IQ4_NL: 0.09,
  IQ4_XS: 0.09,
  MXFP4: 0.14,
  Q3_K: 0.2,
  Q2_K: 0.35,
}

function relativeError(values: Float32Array, decoded: Float32Array): number {
  let error = 0
  let power = 0
  for (const [i, value] of values.entries()) {
    error += (value - (decoded[i] ?? Number.NaN)) ** 2
    power += value ** 2
  }
  return Math.sqrt(error / power)
}

describe("weight formats", () => {
  test("the table equals RF_FORMATS in hip/formats.h", async () => {
    const header = await Bun.file(join(import.meta.dir, "../../../hip/formats.h")).text()
    const rows = [...header.matchAll(/X\((\d+), (\w+), (\d+), (\d+)\)/g)].map((m) => [
      Number(m[1]),
      m[2],
      Number(m[3]),
      Number(m[4]),
    ])
    const byId = [...FORMATS].sort((a, b) => a.id - b.id)
    rows.sort((a, b) => Number(a[0]) - Number(b[0]))
    expect(rows).toEqual(byId.map((format) => [format.id, format.name, format.blockElems, format.blockBytes]))
  })

  test("row sizes are computed, and rows of partial blocks are refused", () => {
    expect(rowBytes(formatNamed("Q4_K"), 4096)).toBe(2304)
    expect(rowBytes(formatNamed("Q8_0"), 64)).toBe(68)
    expect(() => rowBytes(formatNamed("Q4_K"), 576)).toThrow("576 values is not a whole number of Q4_K blocks of 256")
    expect(() => rowBytes(formatNamed("F32"), 2 ** 52)).toThrow("overflows")
    expect(() => rowBytes(formatNamed("F32"), 0)).toThrow(RangeError)
    expect(() => formatNamed("Q9_9")).toThrow("unknown weight format")
  })

  test("unsupported types have names", () => {
    expect([16, 9, 34, 40, 4, 77].map(typeName)).toEqual(["IQ2_XXS", "Q8_1", "TQ1_0", "NVFP4", "Q4_2", "type 77"])
    expect([16, 9, 34, 40, 4, 77].map(findFormat).every((format) => format === undefined)).toBe(true)
  })
})

describe("quantizers", () => {
  for (const { name, blockElems, blockBytes } of FORMATS) {
    test(`${name}: the test decoder is bit-exact on the golden blocks`, async () => {
      const { blocks, values } = await goldenBlocks(name)
      // The specification rounds each sum and product once, like the decoder, including overflow to infinity.
      expect(firstDifference(decodeBlocks(name, blocks), values)).toBeUndefined()
    })

    test(`${name}: the error of a round trip is bounded at several magnitudes`, () => {
      for (const magnitude of [1, 0.02, 300]) {
        const values = randomNormals(4096, 7).map((value) => value * magnitude)
        const bytes = quantize(name, values)
        expect(bytes.length).toBe((4096 / blockElems) * blockBytes)
        expect(relativeError(values, decodeBlocks(name, bytes))).toBeLessThanOrEqual(BOUNDS[name])
      }
    })

    test(`${name}: a block of zeros decodes to zeros; constant and one-sided blocks have small errors`, () => {
      expect(decodeBlocks(name, quantize(name, new Float32Array(256))).every((value) => value === 0)).toBe(true)
      for (const fill of [1, -1, 0.37]) {
        const values = new Float32Array(256).fill(fill)
        expect(relativeError(values, decodeBlocks(name, quantize(name, values)))).toBeLessThan(0.13)
      }
      const positive = randomNormals(256, 9).map((value) => Math.abs(value) + 1)
      expect(relativeError(positive, decodeBlocks(name, quantize(name, positive)))).toBeLessThan(0.35)
    })

    test(`${name}: values beyond binary16's range give finite blocks or are refused`, () => {
      const values = new Float32Array(256).fill(3e38)
      if (name !== "F16") expect(decodeBlocks(name, quantize(name, values)).every(Number.isFinite)).toBe(true)
      else
        expect(decodeBlocks(name, quantize(name, values)).every((value) => value === Number.POSITIVE_INFINITY)).toBe(
          true,
        )
      if (blockElems > 1) {
        values[3] = Number.NaN
        expect(() => quantize(name, values)).toThrow(`value 3 is NaN, which ${name} cannot hold`)
        expect(() => quantize(name, new Float32Array(blockElems + 1))).toThrow("not whole")
      }
    })
  }

  test("BF16 rounds to nearest even and keeps NaN and infinity", () => {
    const values = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -1, Number.NaN, Number.NEGATIVE_INFINITY)
    const decoded = decodeBlocks("BF16", quantize("BF16", values))
    expect([...decoded]).toEqual([1, 1 + 2 ** -6, -1, Number.NaN, Number.NEGATIVE_INFINITY])
  })
})
