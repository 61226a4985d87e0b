import { GgufError } from "./errors.ts"
import { Gguf } from "./gguf.ts"
import { parseFile } from "./parse-file.ts"
import type { TensorInfo } from "./parse-tensors.ts"
import { checkPart, checkTensorTotal, partPaths } from "./split.ts"

export { GgufError, type GgufErrorCode } from "./errors.ts"
export { assertFormats, Gguf, getWeight, type WeightInfo } from "./gguf.ts"
export type { Metadata, MetadataArray, MetadataValue, ValueType } from "./metadata.ts"
export type { TensorInfo } from "./parse-tensors.ts"

/**
 * Reads the header of a GGUF model, never its tensor data. The path of the first part of a split model (`-00001-of-00003.gguf`) opens all
 * parts. All sizes, counts and offsets in the result have been checked against the files.
 * @throws GgufError with a code, the file, the field and its offset, and a remedy
 */
export async function openGguf(path: string): Promise<Gguf> {
  const first = await parseFile(path, 0)
  const paths = partPaths(first)
  const files = [{ path, size: first.size }]
  const tensors = new Map<string, TensorInfo>(first.tensors.map((tensor) => [tensor.name, tensor]))
  if (paths.length > 1) checkPart(first, 0, paths.length)
  for (let index = 1; index < paths.length; index++) {
    const partPath = paths[index] ?? ""
    const part = await parseFile(partPath, index).catch((error: unknown) => {
      if (!(error instanceof GgufError) || error.code !== "missing-file") throw error
      throw new GgufError("missing-split", `part ${index + 1} of ${paths.length} is missing`, {
        path: partPath,
        cause: error,
      })
    })
    checkPart(part, index, paths.length)
    for (const tensor of part.tensors) {
      if (tensors.has(tensor.name)) {
        const place = { path: partPath, field: `tensor "${tensor.name}"` }
        throw new GgufError("duplicate-tensor", "an earlier part holds a tensor of this name", place)
      }
      tensors.set(tensor.name, tensor)
    }
    files.push({ path: partPath, size: part.size })
  }
  if (paths.length > 1) checkTensorTotal(first, tensors.size)
  return new Gguf(first.version, first.metadata, tensors, files, first.alignment)
}
