import { GgufError } from "./errors.ts"
import { HeaderWindow } from "./header-window.ts"
import { describeType, type Metadata } from "./metadata.ts"
import { MIN_ENTRY_BYTES, parseMetadata } from "./parse-metadata.ts"
import { MIN_TENSOR_BYTES, parseTensors, placeTensors, type TensorInfo } from "./parse-tensors.ts"

const MAGIC = 0x46554747 // "GGUF"
const MAGIC_SWAPPED = 0x47475546
const DEFAULT_ALIGNMENT = 32

/** The header of one file. */
export interface GgufFile {
  readonly path: string
  readonly size: number
  readonly version: 2 | 3
  readonly alignment: number
  readonly metadata: Metadata
  readonly tensors: readonly TensorInfo[]
}

/**
 * Reads the header of one file: GGUF version 2 or 3, as the format's specification in the ggml repository (docs/gguf.md) defines it.
 * @param file index of the file among the parts of a model, which its tensors keep
 */
export async function parseFile(path: string, file: number): Promise<GgufFile> {
  const header = HeaderWindow.open(path)
  const { version, tensorCount, entryCount } = await header.parse(() => parsePreamble(header))
  const metadata = await parseMetadata(header, entryCount)
  const alignment = alignmentOf(header, metadata)
  const tensors = placeTensors(header, await parseTensors(header, tensorCount, file), alignment)
  return { path, size: header.size, version, alignment, metadata, tensors }
}

function parsePreamble(header: HeaderWindow): { version: 2 | 3; tensorCount: number; entryCount: number } {
  if (header.size < 4) header.fail("not-gguf", "magic", 0, `a file of ${header.size} bytes cannot be a GGUF file`)
  const magic = header.u32("magic")
  if (magic === MAGIC_SWAPPED) header.fail("big-endian", "magic", 0, "the file is big-endian")
  if (magic !== MAGIC) header.fail("not-gguf", "magic", 0, `the file does not start with "GGUF"`)
  const version = header.u32("version")
  if (version !== 0 && (version & 0xffff) === 0) header.fail("big-endian", "version", 4, "the file is big-endian")
  if (version !== 2 && version !== 3)
    header.fail("unsupported-version", "version", 4, `GGUF version ${version} is not supported; versions 2 and 3 are`)
  const tensorCount = header.count("tensor count", MIN_TENSOR_BYTES)
  const entryCount = header.count("metadata count", MIN_ENTRY_BYTES)
  return { version, tensorCount, entryCount }
}

function alignmentOf(header: HeaderWindow, metadata: Metadata): number {
  const entry = metadata.get("general.alignment")
  if (!entry) return DEFAULT_ALIGNMENT
  const field = `metadata "general.alignment"`
  const path = header.path
  if (entry.type !== "u32")
    throw new GgufError("bad-alignment", `it is ${describeType(entry)}, not u32`, { path, field })
  const { value } = entry
  if (value < 8 || (value & (value - 1)) !== 0)
    throw new GgufError("bad-alignment", `${value} is not a power of two of at least 8`, { path, field })
  return value
}
