/** Names of the weight formats that ROCmForge computes with. */
export type FormatName =
  | "F32"
  | "F16"
  | "BF16"
  | "Q4_0"
  | "Q4_1"
  | "Q5_0"
  | "Q5_1"
  | "Q8_0"
  | "Q2_K"
  | "Q3_K"
  | "Q4_K"
  | "Q5_K"
  | "Q6_K"
  | "IQ4_NL"
  | "IQ4_XS"
  | "MXFP4"

/** Block shape of a ggml type: every `blockElems` consecutive values of a row take `blockBytes` bytes. */
interface BlockType {
  /** The ggml type number that files store. */
  readonly id: number
  readonly name: string
  readonly blockElems: number
  readonly blockBytes: number
}

/** A format that ROCmForge computes with. The same rows as `RF_FORMATS` in hip/formats.h. */
export interface WeightFormat extends BlockType {
  readonly name: FormatName
}

const format = (id: number, name: FormatName, blockElems: number, blockBytes: number): WeightFormat => ({
  id,
  name,
  blockElems,
  blockBytes,
})

export const FORMATS: readonly WeightFormat[] = [
  format(0, "F32", 1, 4),
  format(1, "F16", 1, 2),
  format(2, "Q4_0", 32, 18),
  format(3, "Q4_1", 32, 20),
  format(6, "Q5_0", 32, 22),
  format(7, "Q5_1", 32, 24),
  format(8, "Q8_0", 32, 34),
  format(10, "Q2_K", 256, 84),
  format(11, "Q3_K", 256, 110),
  format(12, "Q4_K", 256, 144),
  format(13, "Q5_K", 256, 176),
  format(14, "Q6_K", 256, 210),
  format(20, "IQ4_NL", 32, 18),
  format(23, "IQ4_XS", 256, 136),
  format(30, "BF16", 1, 2),
  format(39, "MXFP4", 32, 17),
]

/** ggml types that files may hold and ROCmForge refuses, by name. Types that ggml itself withdrew have no size any more. */
const OTHER_TYPES: readonly (BlockType | { id: number; name: string })[] = [
  { id: 4, name: "Q4_2" },
  { id: 5, name: "Q4_3" },
  { id: 9, name: "Q8_1", blockElems: 32, blockBytes: 40 },
  { id: 15, name: "Q8_K", blockElems: 256, blockBytes: 292 },
  { id: 16, name: "IQ2_XXS", blockElems: 256, blockBytes: 66 },
  { id: 17, name: "IQ2_XS", blockElems: 256, blockBytes: 74 },
  { id: 18, name: "IQ3_XXS", blockElems: 256, blockBytes: 98 },
  { id: 19, name: "IQ1_S", blockElems: 256, blockBytes: 50 },
  { id: 21, name: "IQ3_S", blockElems: 256, blockBytes: 110 },
  { id: 22, name: "IQ2_S", blockElems: 256, blockBytes: 82 },
  { id: 24, name: "I8", blockElems: 1, blockBytes: 1 },
  { id: 25, name: "I16", blockElems: 1, blockBytes: 2 },
  { id: 26, name: "I32", blockElems: 1, blockBytes: 4 },
  { id: 27, name: "I64", blockElems: 1, blockBytes: 8 },
  { id: 28, name: "F64", blockElems: 1, blockBytes: 8 },
  { id: 29, name: "IQ1_M", blockElems: 256, blockBytes: 56 },
  { id: 31, name: "Q4_0_4_4" },
  { id: 32, name: "Q4_0_4_8" },
  { id: 33, name: "Q4_0_8_8" },
  { id: 34, name: "TQ1_0", blockElems: 256, blockBytes: 54 },
  { id: 35, name: "TQ2_0", blockElems: 256, blockBytes: 66 },
  { id: 36, name: "IQ4_NL_4_4" },
  { id: 37, name: "IQ4_NL_4_8" },
  { id: 38, name: "IQ4_NL_8_8" },
  { id: 40, name: "NVFP4", blockElems: 64, blockBytes: 36 },
  { id: 41, name: "Q1_0", blockElems: 128, blockBytes: 18 },
]

const formatsById = new Map(FORMATS.map((entry) => [entry.id, entry]))
const formatsByName = new Map<string, WeightFormat>(FORMATS.map((entry) => [entry.name, entry]))
const othersById = new Map(OTHER_TYPES.map((entry) => [entry.id, entry]))

/** The format of a ggml type number, or undefined if ROCmForge does not compute with it. */
export function findFormat(id: number): WeightFormat | undefined {
  return formatsById.get(id)
}

/**
 * The format of that name.
 * @throws RangeError naming the known formats.
 */
export function formatNamed(name: string): WeightFormat {
  const found = formatsByName.get(name)
  if (!found)
    throw new RangeError(`unknown weight format "${name}": known are ${FORMATS.map((entry) => entry.name).join(", ")}`)
  return found
}

/** The name of any ggml type number, for messages: its ggml name, or `type 77` for one that ggml never had. */
export function typeName(id: number): string {
  return (formatsById.get(id) ?? othersById.get(id))?.name ?? `type ${id}`
}

/** Block shape of any ggml type whose size is known, supported or not. */
export function blockType(id: number): BlockType | undefined {
  const other = othersById.get(id)
  return formatsById.get(id) ?? (other && "blockElems" in other ? other : undefined)
}

/**
 * Bytes of one row of `cols` values.
 * @throws RangeError if `cols` is not a whole number of blocks, or the product is not a safe integer.
 */
export function rowBytes(type: BlockType, cols: number): number {
  if (!Number.isSafeInteger(cols) || cols <= 0 || cols % type.blockElems !== 0)
    throw new RangeError(`a row of ${cols} values is not a whole number of ${type.name} blocks of ${type.blockElems}`)
  const bytes = (cols / type.blockElems) * type.blockBytes
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`a row of ${cols} ${type.name} values overflows`)
  return bytes
}
