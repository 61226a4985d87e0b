/** The kind of a header field, for tests that corrupt it. */
export type FieldKind = "magic" | "version" | "count" | "length" | "type" | "dims" | "dimension" | "offset" | "value"

export interface HeaderField {
  kind: FieldKind
  /** Bytes from the start of the file. */
  at: number
  bytes: number
  /** The key or tensor name to which the field belongs, if any. */
  name: string
}

const SCALAR_BYTES: Record<number, number> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }

/** Finds every header field of a valid file, independently of the reader under test; of a long array, only the first 8 elements. */
export function headerFields(file: Uint8Array): { fields: HeaderField[]; end: number } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const fields: HeaderField[] = []
  let at = 0
  let name = ""
  const field = (kind: FieldKind, bytes: number): number => {
    fields.push({ kind, at, bytes, name })
    const value = bytes === 8 ? Number(view.getBigUint64(at, true)) : bytes === 4 ? view.getUint32(at, true) : 0
    at += bytes
    return value
  }
  const string = (): string => {
    const length = field("length", 8)
    at += length
    return new TextDecoder().decode(file.subarray(at - length, at))
  }
  const value = (type: number): void => {
    if (type === 8) string()
    else if (type === 9) {
      const elementType = field("type", 4)
      const count = field("count", 8)
      for (let i = 0; i < count; i++) {
        const before = fields.length
        value(elementType)
        if (i >= 8) fields.length = before
      }
    } else field("value", SCALAR_BYTES[type] ?? 0)
  }
  field("magic", 4)
  field("version", 4)
  const tensors = field("count", 8)
  const entries = field("count", 8)
  for (let i = 0; i < entries; i++) {
    name = string()
    value(field("type", 4))
  }
  for (let i = 0; i < tensors; i++) {
    name = string()
    const dims = field("dims", 4)
    for (let d = 0; d < dims; d++) field("dimension", 8)
    field("type", 4)
    field("offset", 8)
  }
  return { fields, end: at }
}
