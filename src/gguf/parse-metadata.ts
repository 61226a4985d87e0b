import type { Field, HeaderWindow } from "./header-window.ts"
import {
  type Metadata,
  type MetadataArray,
  type MetadataValue,
  VALUE_TYPES,
  type ValueType,
  valueBytes,
} from "./metadata.ts"

/** Deepest nesting of arrays. The limit keeps a hostile file from exhausting the stack. */
const MAX_NESTING = 8

/** Most nested arrays. Each takes 12 bytes in the file and far more in memory, so their number is limited separately. */
const MAX_NESTED_ARRAYS = 65_536

/** Smallest size of an entry in bytes: key length, one byte of key, type, one byte of value. */
export const MIN_ENTRY_BYTES = 8 + 1 + 4 + 1

/** Reads `count` keys and values. @throws GgufError duplicate-key, or the error of an invalid value */
export async function parseMetadata(header: HeaderWindow, count: number): Promise<Metadata> {
  const metadata: Metadata = new Map()
  const budget = { nestedArrays: MAX_NESTED_ARRAYS }
  for (let index = 0; index < count; index++) {
    await header.parse(() => {
      const offset = header.position
      const key = header.name(() => `key of metadata entry ${index}`)
      const field = `metadata "${key}"`
      if (metadata.has(key)) header.fail("duplicate-key", field, offset, "this key occurs twice")
      const left = { ...budget }
      metadata.set(key, parseValue(header, valueType(header, field), field, left))
      budget.nestedArrays = left.nestedArrays
    })
  }
  return metadata
}

function valueType(header: HeaderWindow, field: Field): ValueType {
  const offset = header.position
  const id = header.u32(field)
  return VALUE_TYPES[id] ?? header.fail("bad-value-type", field, offset, `there is no value type ${id}`)
}

function parseValue(
  header: HeaderWindow,
  type: ValueType,
  field: Field,
  budget: { nestedArrays: number },
): MetadataValue {
  switch (type) {
    case "string":
      return { type, value: header.string(field) }
    case "array":
      return parseArray(header, field, 1, budget)
    case "bool":
      return { type, value: parseBools(header, 1, field)[0] === 1 }
    case "u64":
      return { type, value: header.view(8, field).readBigUInt64LE() }
    case "i64":
      return { type, value: header.view(8, field).readBigInt64LE() }
    case "u8":
      return { type, value: header.u8(field) }
    case "i8":
      return { type, value: header.view(1, field).readInt8() }
    case "u16":
      return { type, value: header.view(2, field).readUInt16LE() }
    case "i16":
      return { type, value: header.view(2, field).readInt16LE() }
    case "u32":
      return { type, value: header.u32(field) }
    case "i32":
      return { type, value: header.view(4, field).readInt32LE() }
    case "f32":
      return { type, value: header.view(4, field).readFloatLE() }
    case "f64":
      return { type, value: header.view(8, field).readDoubleLE() }
  }
}

function parseArray(
  header: HeaderWindow,
  field: Field,
  depth: number,
  budget: { nestedArrays: number },
): MetadataArray {
  const start = header.position
  if (depth > MAX_NESTING)
    header.fail("nesting-too-deep", field, start, `arrays are nested more than ${MAX_NESTING} deep`)
  const elementType = valueType(header, field)
  // An element takes at least a length (string), or a type and a count (array).
  const minBytes = valueBytes(elementType) ?? (elementType === "string" ? 8 : 12)
  const count = header.count(field, minBytes)
  if (elementType === "string") {
    const value: string[] = []
    let index = 0
    const element = () => `${typeof field === "string" ? field : field()}[${index}]`
    for (; index < count; index++) value.push(header.string(element))
    return { type: "array", elementType, value }
  }
  if (elementType === "array") {
    if (count > budget.nestedArrays)
      header.fail("absurd-count", field, start, `more than ${MAX_NESTED_ARRAYS} nested arrays`)
    budget.nestedArrays -= count
    const value: MetadataArray[] = []
    for (let index = 0; index < count; index++) {
      const element = () => `${typeof field === "string" ? field : field()}[${index}]`
      value.push(parseArray(header, element, depth + 1, budget))
    }
    return { type: "array", elementType, value }
  }
  return parseNumbers(header, elementType, count, field)
}

/** Copies `count` numbers out of the window into a typed array (little-endian, like all platforms of ROCmForge). */
function parseNumbers(
  header: HeaderWindow,
  elementType: Exclude<ValueType, "string" | "array">,
  count: number,
  field: Field,
): MetadataArray {
  const type = "array"
  if (elementType === "bool") return { type, elementType, value: parseBools(header, count, field) }
  const bytes = count * (valueBytes(elementType) ?? 0)
  const copy = new Uint8Array(header.view(bytes, field)).buffer
  switch (elementType) {
    case "u8":
      return { type, elementType, value: new Uint8Array(copy) }
    case "i8":
      return { type, elementType, value: new Int8Array(copy) }
    case "u16":
      return { type, elementType, value: new Uint16Array(copy) }
    case "i16":
      return { type, elementType, value: new Int16Array(copy) }
    case "u32":
      return { type, elementType, value: new Uint32Array(copy) }
    case "i32":
      return { type, elementType, value: new Int32Array(copy) }
    case "f32":
      return { type, elementType, value: new Float32Array(copy) }
    case "u64":
      return { type, elementType, value: new BigUint64Array(copy) }
    case "i64":
      return { type, elementType, value: new BigInt64Array(copy) }
    case "f64":
      return { type, elementType, value: new Float64Array(copy) }
  }
}

function parseBools(header: HeaderWindow, count: number, field: Field): Uint8Array {
  const offset = header.position
  const value = new Uint8Array(header.view(count, field))
  const bad = value.findIndex((byte) => byte > 1)
  if (bad >= 0) header.fail("bad-boolean", field, offset + bad, `a boolean is 0 or 1, not ${value[bad]}`)
  return value
}
