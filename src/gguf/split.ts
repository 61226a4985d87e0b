import { basename, dirname, join } from "node:path"
import { GgufError } from "./errors.ts"
import type { GgufFile } from "./parse-file.ts"

const PART_NAME = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/

/** The value of a split key in the metadata, or undefined. Writers store it as u16 or i32. */
function splitNumber(file: GgufFile, key: string): number | undefined {
  const entry = file.metadata.get(key)
  if (!entry) return undefined
  if (typeof entry.value === "number" && Number.isInteger(entry.value) && entry.value >= 0) return entry.value
  throw new GgufError("wrong-type", `expected a whole number, found ${entry.type}`, {
    path: file.path,
    field: `metadata "${key}"`,
  })
}

/**
 * The paths of all parts of a model in order, from its first part. A model in one file has one path.
 * @throws GgufError split-not-first, split-mismatch
 */
export function partPaths(first: GgufFile): string[] {
  const count = splitNumber(first, "split.count") ?? 1
  const number = splitNumber(first, "split.no") ?? 0
  const name = PART_NAME.exec(basename(first.path))
  if (count <= 1) {
    if (name && Number(name[3]) > 1)
      mismatch(first, "split.count", `the file name gives ${Number(name[3])} parts, the metadata ${count}`)
    return [first.path]
  }
  const stem = name?.[1]
  if (stem === undefined)
    return mismatch(first, "split.count", `part ${number + 1} of ${count} is not named like model-00001-of-00003.gguf`)
  if (Number(name?.[3]) !== count)
    mismatch(first, "split.count", `the file name gives ${Number(name?.[3])} parts, the metadata ${count}`)
  const part = (index: number) =>
    join(dirname(first.path), `${stem}-${String(index + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.gguf`)
  if (number !== 0) {
    const place = { path: first.path, field: `metadata "split.no"` }
    throw new GgufError(
      "split-not-first",
      `this is part ${number + 1} of ${count}; the first part is ${part(0)}`,
      place,
    )
  }
  return [first.path, ...Array.from({ length: count - 1 }, (_, index) => part(index + 1))]
}

/** Checks that the metadata of a file make it part `index` (from 0) of `count`. @throws GgufError split-mismatch */
export function checkPart(file: GgufFile, index: number, count: number): void {
  const number = splitNumber(file, "split.no")
  const total = splitNumber(file, "split.count")
  if (number !== index) mismatch(file, "split.no", `expected ${index}, found ${number ?? "none"}`)
  if (total !== count) mismatch(file, "split.count", `expected ${count}, found ${total ?? "none"}`)
}

/** Checks the number of tensors in all parts against the first part. @throws GgufError split-mismatch */
export function checkTensorTotal(first: GgufFile, found: number): void {
  const expected = splitNumber(first, "split.tensors.count")
  if (expected !== undefined && expected !== found)
    mismatch(first, "split.tensors.count", `the parts should hold ${expected} tensors, but hold ${found}`)
}

function mismatch(file: GgufFile, key: string, problem: string): never {
  throw new GgufError("split-mismatch", problem, { path: file.path, field: `metadata "${key}"` })
}
