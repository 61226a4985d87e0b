/** Types of metadata values, by their number in the file. */
export const VALUE_TYPES = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const

export type ValueType = (typeof VALUE_TYPES)[number]

/** An array value. Numbers are in typed arrays, booleans are bytes 0 and 1. */
export type MetadataArray =
  | { type: "array"; elementType: "u8"; value: Uint8Array }
  | { type: "array"; elementType: "i8"; value: Int8Array }
  | { type: "array"; elementType: "u16"; value: Uint16Array }
  | { type: "array"; elementType: "i16"; value: Int16Array }
  | { type: "array"; elementType: "u32"; value: Uint32Array }
  | { type: "array"; elementType: "i32"; value: Int32Array }
  | { type: "array"; elementType: "f32"; value: Float32Array }
  | { type: "array"; elementType: "u64"; value: BigUint64Array }
  | { type: "array"; elementType: "i64"; value: BigInt64Array }
  | { type: "array"; elementType: "f64"; value: Float64Array }
  | { type: "array"; elementType: "bool"; value: Uint8Array }
  | { type: "array"; elementType: "string"; value: string[] }
  | { type: "array"; elementType: "array"; value: MetadataArray[] }

/** A metadata value with its type in the file. Strings are decoded as UTF-8; invalid sequences become U+FFFD. */
export type MetadataValue =
  | { type: "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64"; value: number }
  | { type: "u64" | "i64"; value: bigint }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | MetadataArray

/** Metadata in file order. */
export type Metadata = Map<string, MetadataValue>

/** Size of a value in bytes; undefined for strings and arrays. */
export function valueBytes(type: ValueType): number | undefined {
  switch (type) {
    case "u8":
    case "i8":
    case "bool":
      return 1
    case "u16":
    case "i16":
      return 2
    case "u32":
    case "i32":
    case "f32":
      return 4
    case "u64":
    case "i64":
    case "f64":
      return 8
    case "string":
    case "array":
      return undefined
  }
}

/** The type of a value for messages: `u32`, `array of string`, `array of array of f32` … */
export function describeType(value: MetadataValue): string {
  if (value.type !== "array") return value.type
  if (value.elementType !== "array") return `array of ${value.elementType}`
  const first = value.value[0]
  return `array of ${first ? describeType(first) : "array"}`
}

/** Shorthands for the values of a file to write. */
export const meta = {
  u8: (value: number): MetadataValue => ({ type: "u8", value }),
  i8: (value: number): MetadataValue => ({ type: "i8", value }),
  u16: (value: number): MetadataValue => ({ type: "u16", value }),
  i16: (value: number): MetadataValue => ({ type: "i16", value }),
  u32: (value: number): MetadataValue => ({ type: "u32", value }),
  i32: (value: number): MetadataValue => ({ type: "i32", value }),
  f32: (value: number): MetadataValue => ({ type: "f32", value }),
  f64: (value: number): MetadataValue => ({ type: "f64", value }),
  u64: (value: bigint): MetadataValue => ({ type: "u64", value }),
  i64: (value: bigint): MetadataValue => ({ type: "i64", value }),
  bool: (value: boolean): MetadataValue => ({ type: "bool", value }),
  string: (value: string): MetadataValue => ({ type: "string", value }),
  strings: (value: string[]): MetadataArray => ({ type: "array", elementType: "string", value }),
  bools: (value: boolean[]): MetadataArray => ({
    type: "array",
    elementType: "bool",
    value: Uint8Array.from(value, Number),
  }),
  u32s: (value: ArrayLike<number>): MetadataArray => ({
    type: "array",
    elementType: "u32",
    value: Uint32Array.from(value),
  }),
  i32s: (value: ArrayLike<number>): MetadataArray => ({
    type: "array",
    elementType: "i32",
    value: Int32Array.from(value),
  }),
  f32s: (value: ArrayLike<number>): MetadataArray => ({
    type: "array",
    elementType: "f32",
    value: Float32Array.from(value),
  }),
  arrays: (value: MetadataArray[]): MetadataArray => ({ type: "array", elementType: "array", value }),
}
