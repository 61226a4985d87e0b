import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { FORMATS } from "../../src/gguf/formats.ts"
import { meta } from "../../src/gguf/metadata.ts"
import type { GgufSource } from "../../src/gguf/writer.ts"
import { type FieldKind, type HeaderField, headerFields } from "./gguf-layout.ts"

/** A generator of uniform numbers in 0..1 that repeats for a seed (the mulberry32 recurrence). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Normal values of mean 0 and deviation 1 (Box-Muller). */
export function randomNormals(count: number, seed: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()),
  )
}

/** A file with every metadata value type, nested arrays and one tensor of each format. */
export function richSource(seed = 1): GgufSource {
  return {
    metadata: {
      "general.architecture": meta.string("llama"),
      "general.alignment": meta.u32(64),
      "v.u8": meta.u8(200),
      "v.i8": meta.i8(-5),
      "v.u16": meta.u16(60_000),
      "v.i16": meta.i16(-300),
      "v.u32": meta.u32(4_000_000_000),
      "v.i32": meta.i32(-7),
      "v.f32": meta.f32(1.5),
      "v.f64": meta.f64(Math.PI),
      "v.u64": meta.u64(2n ** 63n + 1n),
      "v.i64": meta.i64(-(2n ** 62n) - 1n),
      "v.true": meta.bool(true),
      "v.false": meta.bool(false),
      "v.empty": meta.string(""),
      "v.text": meta.string("\uFEFFnaïve 🙂 \0 end"),
      "a.u8": { type: "array", elementType: "u8", value: Uint8Array.of(0, 255) },
      "a.i8": { type: "array", elementType: "i8", value: Int8Array.of(-128, 127) },
      "a.u16": { type: "array", elementType: "u16", value: Uint16Array.of(1, 65_535) },
      "a.i16": { type: "array", elementType: "i16", value: Int16Array.of(-32_768, 2) },
      "a.u32": meta.u32s([1, 4_294_967_295]),
      "a.i32": meta.i32s([-2_147_483_648, 3]),
      "a.f32": meta.f32s([0.5, Number.NEGATIVE_INFINITY]),
      "a.f64": { type: "array", elementType: "f64", value: Float64Array.of(1e300, -0) },
      "a.u64": { type: "array", elementType: "u64", value: BigUint64Array.of(0n, 2n ** 64n - 1n) },
      "a.i64": { type: "array", elementType: "i64", value: BigInt64Array.of(-(2n ** 63n), 5n) },
      "a.bool": meta.bools([true, false, true]),
      "a.string": meta.strings(["", "<s>", "▁the", "\u{1F600}"]),
      "a.none": meta.strings([]),
      "a.nested": meta.arrays([
        meta.u32s([1, 2, 3]),
        meta.strings(["x", "y"]),
        meta.arrays([meta.f32s([0.25]), meta.arrays([])]),
      ]),
    },
    tensors: FORMATS.map((format, index) => ({
      name: `blk.${index}.${format.name.toLowerCase()}`,
      shape: [256, 3],
      format: format.name,
      data: randomNormals(768, seed + index),
    })),
  }
}

/** A folder for one test file's temporary files; call `remove` in afterAll. */
export function temporaryFolder(name: string): { path: (file: string) => string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), `rocmforge-${name}-`))
  return { path: (file) => join(folder, file), remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** Selects a header field: number `index` (from 0) among the fields of kind `kind` that belong to the key or tensor `name`. */
export interface FieldAddress {
  kind: FieldKind
  name?: string
  index?: number
}

/** Byte offset of a header field of a valid file. */
export function fieldOffset(file: Uint8Array, address: FieldAddress): number {
  return addressed(file, address).at
}

/** A copy of a valid file with one header field overwritten. */
export function patchField(file: Uint8Array, address: FieldAddress, value: bigint): Uint8Array {
  const { at, bytes } = addressed(file, address)
  const copy = file.slice()
  const little = new Uint8Array(BigUint64Array.of(BigInt.asUintN(64, value)).buffer)
  copy.set(little.subarray(0, bytes), at)
  return copy
}

function addressed(file: Uint8Array, { kind, name = "", index = 0 }: FieldAddress): HeaderField {
  const found = headerFields(file).fields.filter((field) => field.kind === kind && field.name === name)[index]
  if (!found) throw new RangeError(`the file has no ${kind} number ${index} of "${name}"`)
  return found
}
