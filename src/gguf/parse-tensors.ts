import { blockType, findFormat, typeName, type WeightFormat } from "./formats.ts"
import type { HeaderWindow } from "./header-window.ts"

const MAX_DIMENSIONS = 4

/** Fewest bytes of a directory entry: name length, one byte of name, dimension count, one dimension, type, offset. */
export const MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8

/** One entry of the tensor directory. */
export interface TensorInfo {
  readonly name: string
  /** The weight format, or undefined if ROCmForge does not compute with the type (see `assertFormats`). */
  readonly format: WeightFormat | undefined
  /** ggml type number. */
  readonly typeId: number
  readonly typeName: string
  /** Dimensions in ggml order: `shape[0]` values lie next to each other (a row), so a matrix is `[columns, rows]`. */
  readonly shape: readonly number[]
  /** Which of `Gguf.files` holds the data. */
  readonly file: number
  /** Where the data starts: bytes from the start of that file. */
  readonly offset: number
  /** Bytes of data; 0 for a type whose size is unknown (`format` is undefined then). */
  readonly nBytes: number
}

/** A tensor as its file lists it, before its place in the file is known. */
interface RawTensor {
  readonly info: Omit<TensorInfo, "offset">
  readonly relative: number
  readonly field: string
  /** File offsets of its entry and of its offset field. */
  readonly entryAt: number
  readonly offsetAt: number
}

/** Reads `count` directory entries and checks each alone. `file` is the index of the file among a model's parts. */
export async function parseTensors(header: HeaderWindow, count: number, file: number): Promise<RawTensor[]> {
  const tensors: RawTensor[] = []
  const names = new Set<string>()
  for (let index = 0; index < count; index++) {
    const tensor = await header.parse(() => parseTensor(header, index, file))
    if (names.has(tensor.info.name))
      header.fail("duplicate-tensor", tensor.field, tensor.entryAt, "this name occurs twice")
    names.add(tensor.info.name)
    tensors.push(tensor)
  }
  return tensors
}

function parseTensor(header: HeaderWindow, index: number, file: number): RawTensor {
  const entryAt = header.position
  const name = header.name(() => `name of tensor ${index}`)
  const field = `tensor "${name}"`
  const dimsAt = header.position
  const dims = header.u32(`${field} dimension count`)
  if (dims > MAX_DIMENSIONS)
    header.fail("too-many-dimensions", field, dimsAt, `${dims} dimensions, at most ${MAX_DIMENSIONS} are possible`)
  if (dims === 0) header.fail("zero-dimension", field, dimsAt, "it has no dimensions")
  const shape: number[] = []
  let elems = 1
  for (let d = 0; d < dims; d++) {
    const at = header.position
    const size = header.size64(`${field} shape[${d}]`)
    if (size === 0) header.fail("zero-dimension", `${field} shape[${d}]`, at, "this dimension is 0")
    elems *= size
    if (!Number.isSafeInteger(elems))
      header.fail("overflow", `${field} shape[${d}]`, at, "the number of values overflows")
    shape.push(size)
  }
  const typeId = header.u32(`${field} type`)
  const block = blockType(typeId)
  let nBytes = 0
  if (block) {
    const cols = shape[0] ?? 0
    if (cols % block.blockElems !== 0)
      header.fail(
        "partial-block",
        `${field} shape[0]`,
        dimsAt + 4,
        `rows of ${cols} values are not whole ${block.name} blocks of ${block.blockElems}`,
      )
    nBytes = (elems / block.blockElems) * block.blockBytes
    if (!Number.isSafeInteger(nBytes)) header.fail("overflow", field, dimsAt, "the number of bytes overflows")
  }
  const offsetAt = header.position
  const relative = header.size64(`${field} offset`)
  return {
    info: { name, format: findFormat(typeId), typeId, typeName: typeName(typeId), shape, file, nBytes },
    relative,
    field,
    entryAt,
    offsetAt,
  }
}

/**
 * Turns offsets relative to the data section into absolute ones. Afterwards every tensor lies, aligned, inside the file and on its own bytes.
 * @throws GgufError misaligned-tensor, tensor-out-of-file, overlapping-tensors
 */
export function placeTensors(header: HeaderWindow, tensors: readonly RawTensor[], alignment: number): TensorInfo[] {
  const dataStart = Math.ceil(header.position / alignment) * alignment
  const placed = tensors.map((tensor) => {
    const { info, relative, field, offsetAt } = tensor
    if (relative % alignment !== 0)
      header.fail("misaligned-tensor", field, offsetAt, `offset ${relative} is not a multiple of ${alignment}`)
    const offset = dataStart + relative
    // Both sums stay below 2^55, where rounding could at most miss by a few bytes far beyond any file's size.
    if (offset > header.size || info.nBytes > header.size - offset)
      header.fail(
        "tensor-out-of-file",
        field,
        offsetAt,
        `bytes ${offset} to ${offset + info.nBytes} are not in the file, which ends at ${header.size}`,
      )
    return { tensor, placed: { ...info, offset } }
  })
  const ordered = [...placed].sort((a, b) => a.placed.offset - b.placed.offset || a.placed.nBytes - b.placed.nBytes)
  let end = 0
  let previous = ""
  for (const { tensor, placed: info } of ordered) {
    if (info.offset < end)
      header.fail(
        "overlapping-tensors",
        tensor.field,
        tensor.offsetAt,
        `its data at byte ${info.offset} overlaps that of ${previous}`,
      )
    if (info.offset + info.nBytes >= end) {
      end = info.offset + info.nBytes
      previous = tensor.field
    }
  }
  return placed.map((entry) => entry.placed)
}
