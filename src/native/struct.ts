/**
 * C struct layouts as data: fields in order, offsets by the natural alignment that the x86-64 and AArch64 ABIs share.
 */

type FieldType = "u32" | "i32" | "f32" | "u64" | "char"

const SIZES: Record<FieldType, number> = { u32: 4, i32: 4, f32: 4, u64: 8, char: 1 }

interface Field {
  type: FieldType
  /** Elements, more than 1 for an array field. */
  count: number
  /** Bytes from the start of the struct. */
  offset: number
}

export interface Struct<Name extends string = string> {
  name: string
  /** Bytes, padded to the alignment. */
  size: number
  fields: Readonly<Record<Name, Field>>
}

type FieldSpec = FieldType | readonly [FieldType, number]

/** Lays out a struct from its fields in declaration order (objects keep the order of their keys). */
export function struct<Name extends string>(name: string, spec: Record<Name, FieldSpec>): Struct<Name> {
  const fields = {} as Record<Name, Field>
  let offset = 0
  let align = 1
  for (const key of Object.keys(spec) as Name[]) {
    const entry: FieldSpec = spec[key]
    const [type, count]: readonly [FieldType, number] = typeof entry === "string" ? [entry, 1] : entry
    const size = SIZES[type]
    align = Math.max(align, size)
    offset = Math.ceil(offset / size) * size
    fields[key] = { type, count, offset }
    offset += size * count
  }
  return { name, size: Math.ceil(offset / align) * align, fields }
}

export type FieldValue = number | bigint | ArrayLike<number>

/**
 * Writes the named fields of the struct at byte `base`; fields that are not named stay as they are.
 * @throws RangeError when an array is longer than its field.
 */
export function writeStruct<Name extends string>(
  view: DataView,
  base: number,
  layout: Struct<Name>,
  values: Partial<Record<Name, FieldValue>>,
): void {
  for (const key of Object.keys(values) as Name[]) {
    const value = values[key]
    if (value === undefined) continue
    const field = layout.fields[key]
    if (typeof value === "number" || typeof value === "bigint") {
      writeScalar(view, base + field.offset, field.type, value)
      continue
    }
    if (value.length > field.count) {
      throw new RangeError(`${layout.name}.${key} holds ${field.count} elements, not ${value.length}`)
    }
    for (let i = 0; i < value.length; i++) {
      writeScalar(view, base + field.offset + i * SIZES[field.type], field.type, value[i] ?? 0)
    }
  }
}

function writeScalar(view: DataView, at: number, type: FieldType, value: number | bigint): void {
  if (type === "u64") view.setBigUint64(at, BigInt(value), true)
  else if (type === "f32") view.setFloat32(at, Number(value), true)
  else if (type === "i32") view.setInt32(at, Number(value), true)
  else if (type === "u32") view.setUint32(at, Number(value), true)
  else view.setUint8(at, Number(value))
}

/** Reads one number of the struct at byte `base`; a 64-bit field comes back as a number, exact below 2^53. */
export function readNumber<Name extends string>(view: DataView, base: number, layout: Struct<Name>, key: Name): number {
  const { type, offset } = layout.fields[key]
  if (type === "u64") return Number(view.getBigUint64(base + offset, true))
  if (type === "f32") return view.getFloat32(base + offset, true)
  if (type === "i32") return view.getInt32(base + offset, true)
  if (type === "u32") return view.getUint32(base + offset, true)
  return view.getUint8(base + offset)
}

/** Reads a NUL-terminated UTF-8 text field of the struct at byte `base`. */
export function readText<Name extends string>(view: DataView, base: number, layout: Struct<Name>, key: Name): string {
  const { offset, count } = layout.fields[key]
  const bytes = new Uint8Array(view.buffer, view.byteOffset + base + offset, count)
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}
