import { GgufError } from "./errors.ts"
import { FORMATS, type WeightFormat } from "./formats.ts"
import { describeType, type Metadata, type MetadataArray, type MetadataValue } from "./metadata.ts"
import type { TensorInfo } from "./parse-tensors.ts"

/** A tensor of a format that ROCmForge computes with. */
export type WeightInfo = TensorInfo & { readonly format: WeightFormat }

/**
 * An opened GGUF model: metadata and tensor directory of one file, or of all parts of a split one. It holds no file open.
 *
 * `getX(key)` throws GgufError `missing-key` if the key is absent; `findX(key)` returns undefined then. Both throw
 * `wrong-type` if the key holds something else. Integers are accepted from every integer type whose value fits, since
 * converters do not agree on widths; nothing else is converted, except f64 to f32.
 */
export class Gguf {
  constructor(
    readonly version: 2 | 3,
    /** Of the first file, in file order. */
    readonly metadata: Metadata,
    /** In file order; of a split model, part after part. */
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    /** The first file and, for a split model, the others in order. Sizes in bytes. */
    readonly files: readonly { readonly path: string; readonly size: number }[],
    /** Bytes to which tensor data is aligned (of the first file). */
    readonly alignment: number,
  ) {}

  /** Path of the (first) file. */
  get path(): string {
    return this.files[0]?.path ?? ""
  }

  /** @throws GgufError missing-tensor */
  getTensor(name: string): TensorInfo {
    const found = this.tensors.get(name)
    if (!found)
      throw new GgufError("missing-tensor", "the file has no such tensor", {
        path: this.path,
        field: `tensor "${name}"`,
      })
    return found
  }

  getString(key: string): string {
    return this.#required(key, "string", this.findString(key))
  }
  findString(key: string): string | undefined {
    return this.#find(key, "string", (entry) => (entry.type === "string" ? entry.value : undefined))
  }

  getBool(key: string): boolean {
    return this.#required(key, "bool", this.findBool(key))
  }
  findBool(key: string): boolean | undefined {
    return this.#find(key, "bool", (entry) => (entry.type === "bool" ? entry.value : undefined))
  }

  getU32(key: string): number {
    return this.#required(key, "u32", this.findU32(key))
  }
  findU32(key: string): number | undefined {
    return this.#find(key, "u32", (entry) => integer(entry, 0, 0xffff_ffff))
  }

  getI32(key: string): number {
    return this.#required(key, "i32", this.findI32(key))
  }
  findI32(key: string): number | undefined {
    return this.#find(key, "i32", (entry) => integer(entry, -0x8000_0000, 0x7fff_ffff))
  }

  /** An unsigned integer of up to 2^53 - 1. */
  getU64(key: string): number {
    return this.#required(key, "u64", this.findU64(key))
  }
  findU64(key: string): number | undefined {
    return this.#find(key, "u64", (entry) => integer(entry, 0, Number.MAX_SAFE_INTEGER))
  }

  getF32(key: string): number {
    return this.#required(key, "f32", this.findF32(key))
  }
  findF32(key: string): number | undefined {
    return this.#find(key, "f32", (entry) => {
      if (entry.type === "f64") return Math.fround(entry.value)
      return entry.type === "f32" ? entry.value : undefined
    })
  }

  getStringArray(key: string): readonly string[] {
    return this.#required(key, "array of string", this.findStringArray(key))
  }
  findStringArray(key: string): readonly string[] | undefined {
    return this.#find(key, "array of string", (entry) =>
      entry.type === "array" && entry.elementType === "string" ? entry.value : undefined,
    )
  }

  getI32Array(key: string): Int32Array {
    return this.#required(key, "array of i32", this.findI32Array(key))
  }
  findI32Array(key: string): Int32Array | undefined {
    return this.#find(key, "array of i32", (entry) => {
      if (entry.type !== "array") return undefined
      if (entry.elementType === "i32") return entry.value
      const numbers = integers(entry)
      return numbers?.every((value) => value >= -0x8000_0000 && value <= 0x7fff_ffff)
        ? Int32Array.from(numbers)
        : undefined
    })
  }

  getU32Array(key: string): Uint32Array {
    return this.#required(key, "array of u32", this.findU32Array(key))
  }
  findU32Array(key: string): Uint32Array | undefined {
    return this.#find(key, "array of u32", (entry) => {
      if (entry.type !== "array") return undefined
      if (entry.elementType === "u32") return entry.value
      const numbers = integers(entry)
      return numbers?.every((value) => value >= 0 && value <= 0xffff_ffff) ? Uint32Array.from(numbers) : undefined
    })
  }

  getF32Array(key: string): Float32Array {
    return this.#required(key, "array of f32", this.findF32Array(key))
  }
  findF32Array(key: string): Float32Array | undefined {
    return this.#find(key, "array of f32", (entry) => {
      if (entry.type !== "array") return undefined
      if (entry.elementType === "f64") return Float32Array.from(entry.value)
      return entry.elementType === "f32" ? entry.value : undefined
    })
  }

  /** As bytes 0 and 1. */
  getBoolArray(key: string): Uint8Array {
    return this.#required(key, "array of bool", this.findBoolArray(key))
  }
  findBoolArray(key: string): Uint8Array | undefined {
    return this.#find(key, "array of bool", (entry) =>
      entry.type === "array" && entry.elementType === "bool" ? entry.value : undefined,
    )
  }

  #required<T>(key: string, expected: string, value: T | undefined): T {
    if (value !== undefined) return value
    throw new GgufError("missing-key", `the file lacks this key (${expected})`, {
      path: this.path,
      field: `metadata "${key}"`,
    })
  }

  #find<T>(key: string, expected: string, convert: (entry: MetadataValue) => T | undefined): T | undefined {
    const entry = this.metadata.get(key)
    if (!entry) return undefined
    const value = convert(entry)
    if (value !== undefined) return value
    const found =
      entry.type === "array" || typeof entry.value === "string" ? describeType(entry) : `${entry.type} ${entry.value}`
    throw new GgufError("wrong-type", `expected ${expected}, found ${found}`, {
      path: this.path,
      field: `metadata "${key}"`,
    })
  }
}

function integer(entry: MetadataValue, low: number, high: number): number | undefined {
  switch (entry.type) {
    case "u8":
    case "i8":
    case "u16":
    case "i16":
    case "u32":
    case "i32":
    case "u64":
    case "i64":
      return entry.value >= low && entry.value <= high ? Number(entry.value) : undefined
    default:
      return undefined
  }
}

function integers(entry: MetadataArray): number[] | undefined {
  switch (entry.elementType) {
    case "u8":
    case "i8":
    case "u16":
    case "i16":
    case "u32":
    case "i32":
      return [...entry.value]
    case "u64":
    case "i64":
      return [...entry.value].map(Number)
    default:
      return undefined
  }
}

/**
 * Refuses a model with any tensor of a type that ROCmForge does not compute with; to call before anything is loaded.
 * @throws GgufError unsupported-format naming each such type, how many tensors have it, and the first of them.
 */
export function assertFormats(gguf: Gguf): void {
  const refused = [...gguf.tensors.values()].filter((tensor) => !tensor.format)
  const first = refused[0]
  if (!first) return
  const counts = new Map<string, number>()
  for (const tensor of refused) counts.set(tensor.typeName, (counts.get(tensor.typeName) ?? 0) + 1)
  const types = [...counts]
    .map(([type, count]) => `${type} (${count} ${count === 1 ? "tensor" : "tensors"})`)
    .join(", ")
  const known = FORMATS.map((format) => format.name).join(", ")
  const place = { path: gguf.files[first.file]?.path ?? gguf.path, field: `tensor "${first.name}"` }
  throw new GgufError("unsupported-format", `unsupported weight format ${types}; supported are ${known}`, place)
}

/** The tensor of that name, known to have a supported format. @throws GgufError missing-tensor, unsupported-format */
export function getWeight(gguf: Gguf, name: string): WeightInfo {
  const tensor = gguf.getTensor(name)
  if (tensor.format) return { ...tensor, format: tensor.format }
  const place = { path: gguf.files[tensor.file]?.path ?? gguf.path, field: `tensor "${name}"` }
  throw new GgufError("unsupported-format", `unsupported weight format ${tensor.typeName}`, place)
}
