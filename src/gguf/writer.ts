import { open } from "node:fs/promises"
import { ByteWriter } from "./byte-writer.ts"
import { GgufError } from "./errors.ts"
import { type FormatName, formatNamed, rowBytes } from "./formats.ts"
import { type Metadata, type MetadataArray, type MetadataValue, meta, VALUE_TYPES } from "./metadata.ts"
import { quantize } from "./quantize.ts"

/** A tensor to write. */
export interface TensorSource {
  name: string
  /** Dimensions in ggml order, as in `TensorInfo`: `shape[0]` is the length of a row. */
  shape: readonly number[]
  format: FormatName
  /** Values, which are quantized to `format`, or bytes in that format. */
  data: Float32Array | Uint8Array
}

/** A GGUF file to write. */
export interface GgufSource {
  /** GGUF version. Default 3. */
  version?: 2 | 3
  /** Metadata, written in this order. `general.alignment` sets the alignment, which is 32 by default. */
  metadata: Metadata | Record<string, MetadataValue>
  tensors: readonly TensorSource[]
}

/**
 * The bytes of a GGUF file.
 * @param path name of the file in messages
 * @throws GgufError bad-request, bad-alignment, duplicate-tensor, zero-dimension, too-many-dimensions or partial-block for an invalid source
 */
export function encodeGguf(source: GgufSource, path = "new GGUF file"): Uint8Array<ArrayBuffer> {
  const out = new ByteWriter()
  for (const chunk of chunks(source, path)) out.bytes(chunk)
  return out.finish()
}

/** Writes a GGUF file with one tensor in memory at a time. @throws GgufError as `encodeGguf` does */
export async function writeGguf(path: string, source: GgufSource): Promise<void> {
  const file = await open(path, "w")
  try {
    for (const chunk of chunks(source, path)) {
      // One write accepts at most 2 GiB, and may write less than it was given.
      for (let at = 0; at < chunk.length; ) {
        at += (await file.write(chunk, at, Math.min(chunk.length - at, 2 ** 30))).bytesWritten
      }
    }
  } finally {
    await file.close()
  }
}

/**
 * Writes a model as `parts` files named `STEM-00001-of-0000N.gguf` and returns their paths. The first file holds the metadata; the tensors
 * are divided evenly among the files, in order.
 */
export async function writeSplitGguf(stem: string, source: GgufSource, parts: number): Promise<string[]> {
  const paths: string[] = []
  const each = Math.ceil(source.tensors.length / parts)
  const { "split.no": _no, "split.count": _count, "split.tensors.count": _total, ...rest } = toRecord(source.metadata)
  const alignment = rest["general.alignment"]
  for (let part = 0; part < parts; part++) {
    const path = `${stem}-${String(part + 1).padStart(5, "0")}-of-${String(parts).padStart(5, "0")}.gguf`
    const metadata: Record<string, MetadataValue> = {
      ...(part === 0 ? rest : alignment && { "general.alignment": alignment }),
      "split.no": meta.u16(part),
      "split.count": meta.u16(parts),
      "split.tensors.count": meta.i32(source.tensors.length),
    }
    await writeGguf(path, { ...source, metadata, tensors: source.tensors.slice(part * each, (part + 1) * each) })
    paths.push(path)
  }
  return paths
}

function toRecord(metadata: GgufSource["metadata"]): Record<string, MetadataValue> {
  return metadata instanceof Map ? Object.fromEntries(metadata) : metadata
}

/** The bytes of the file in pieces: the header, then each tensor with its padding. */
function* chunks(source: GgufSource, path: string): Generator<Uint8Array> {
  const entries = [...(source.metadata instanceof Map ? source.metadata : Object.entries(source.metadata))]
  const alignment = alignmentOf(entries, path)
  const sizes = source.tensors.map((tensor) => checkedBytes(tensor, path))
  const names = new Set<string>()
  const header = new ByteWriter()
  header.bytes(new TextEncoder().encode("GGUF"))
  header.u32(source.version ?? 3)
  header.u64(source.tensors.length)
  header.u64(entries.length)
  for (const [key, value] of entries) {
    header.string(key)
    header.u32(VALUE_TYPES.indexOf(value.type))
    putValue(header, value)
  }
  let offset = 0
  for (const [index, tensor] of source.tensors.entries()) {
    const field = `tensor "${tensor.name}"`
    if (names.has(tensor.name)) throw new GgufError("duplicate-tensor", "this name occurs twice", { path, field })
    names.add(tensor.name)
    header.string(tensor.name)
    header.u32(tensor.shape.length)
    for (const size of tensor.shape) header.u64(size)
    header.u32(formatNamed(tensor.format).id)
    header.u64(offset)
    offset = Math.ceil((offset + (sizes[index] ?? 0)) / alignment) * alignment
  }
  if (source.tensors.length > 0) header.pad(alignment)
  yield header.finish()
  for (const tensor of source.tensors) {
    const data = tensor.data instanceof Float32Array ? quantize(tensor.format, tensor.data) : tensor.data
    yield data
    if (data.length % alignment > 0) yield new Uint8Array(alignment - (data.length % alignment))
  }
}

function alignmentOf(entries: readonly [string, MetadataValue][], path: string): number {
  const value = entries.find(([key]) => key === "general.alignment")?.[1] ?? meta.u32(32)
  if (value.type !== "u32" || value.value < 8 || (value.value & (value.value - 1)) !== 0)
    throw new GgufError("bad-alignment", "alignment must be a u32 power of two of at least 8", {
      path,
      field: `metadata "general.alignment"`,
    })
  return value.value
}

/** The size of a tensor's data in bytes. @throws GgufError if its shape, format and data do not agree */
function checkedBytes({ name, shape, format, data }: TensorSource, path: string): number {
  const place = { path, field: `tensor "${name}"` }
  const block = formatNamed(format)
  if (shape.length > 4) throw new GgufError("too-many-dimensions", `${shape.length} dimensions`, place)
  if (shape.length === 0 || shape.some((size) => size === 0))
    throw new GgufError("zero-dimension", `shape [${shape}]`, place)
  const cols = shape[0] ?? 0
  if (cols % block.blockElems !== 0)
    throw new GgufError(
      "partial-block",
      `rows of ${cols} values are not whole ${format} blocks of ${block.blockElems}`,
      place,
    )
  const rows = shape.slice(1).reduce((a, b) => a * b, 1)
  const bytes = rows * rowBytes(block, cols)
  const found = data instanceof Float32Array ? data.length : data.byteLength
  const expected = data instanceof Float32Array ? rows * cols : bytes
  if (found !== expected)
    throw new GgufError(
      "bad-request",
      `shape [${shape}] in ${format} needs ${expected} ${data instanceof Float32Array ? "values" : "bytes"}, but has ${found}`,
      place,
    )
  return bytes
}

function putValue(out: ByteWriter, entry: MetadataValue): void {
  if (entry.type === "array") putArray(out, entry)
  else if (entry.type === "string") out.string(entry.value)
  else out.bytes(new Uint8Array(scalar(entry).buffer))
}

function putArray(out: ByteWriter, entry: MetadataArray): void {
  out.u32(VALUE_TYPES.indexOf(entry.elementType))
  out.u64(entry.value.length)
  if (entry.elementType === "string") for (const value of entry.value) out.string(value)
  else if (entry.elementType === "array") for (const value of entry.value) putArray(out, value)
  else out.bytes(new Uint8Array(entry.value.buffer, entry.value.byteOffset, entry.value.byteLength))
}

/** A number or boolean as bytes of the file. */
function scalar(entry: Exclude<MetadataValue, { type: "array" } | { type: "string" }>) {
  switch (entry.type) {
    case "bool":
      return Uint8Array.of(entry.value ? 1 : 0)
    case "u64":
      return BigUint64Array.of(entry.value)
    case "i64":
      return BigInt64Array.of(entry.value)
    case "u8":
      return Uint8Array.of(entry.value)
    case "i8":
      return Int8Array.of(entry.value)
    case "u16":
      return Uint16Array.of(entry.value)
    case "i16":
      return Int16Array.of(entry.value)
    case "u32":
      return Uint32Array.of(entry.value)
    case "i32":
      return Int32Array.of(entry.value)
    case "f32":
      return Float32Array.of(entry.value)
    case "f64":
      return Float64Array.of(entry.value)
  }
}
