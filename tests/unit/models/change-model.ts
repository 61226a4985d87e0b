/** Tiny model files with changed metadata and tensors. */

import { join } from "node:path"
import type { MetadataValue } from "../../../src/gguf/metadata.ts"
import { type Gguf, openGguf } from "../../../src/gguf/reader.ts"
import { encodeGguf } from "../../../src/gguf/writer.ts"
import { ModelError, type ModelErrorCode } from "../../../src/models/errors.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { type TinyModelOptions, tinyModel } from "../../support/tiny-model.ts"

export interface Change {
  /** Values by key; `undefined` removes the key. */
  metadata?: Record<string, MetadataValue | undefined>
  /** Names of tensors to leave out. */
  without?: string[]
  /** F32 vectors of zeros to add. */
  add?: { name: string; length: number }[]
  /** New names of tensors by their old names. */
  rename?: Record<string, string>
}

/** Opens a tiny model written to `folder` with the change. */
export async function changedModel(folder: string, options: TinyModelOptions, change: Change = {}): Promise<Gguf> {
  const path = join(folder, `${crypto.randomUUID()}.gguf`)
  await Bun.write(path, tinyModel(options))
  const gguf = await openGguf(path)
  const bytes = await Bun.file(path).bytes()
  const metadata = new Map(gguf.metadata)
  for (const [key, value] of Object.entries(change.metadata ?? {})) {
    if (value) metadata.set(key, value)
    else metadata.delete(key)
  }
  const tensors = [...gguf.tensors.values()]
    .filter(({ name }) => !change.without?.includes(name))
    .map(({ name, shape, format, offset, nBytes }) => ({
      name: change.rename?.[name] ?? name,
      shape,
      format: format?.name ?? "F32",
      data: bytes.slice(offset, offset + nBytes),
    }))
  const extra = (change.add ?? []).map(({ name, length }) => ({
    name,
    shape: [length],
    format: "F32" as const,
    data: new Uint8Array(4 * length),
  }))
  await Bun.write(path, encodeGguf({ metadata, tensors: [...tensors, ...extra] }))
  return openGguf(path)
}

/** The code and message of the ModelError with which the changed model is refused. */
export async function refusal(
  folder: string,
  options: TinyModelOptions,
  change: Change,
): Promise<[code: ModelErrorCode, message: string]> {
  const gguf = await changedModel(folder, options, change)
  try {
    buildModel(gguf)
  } catch (error) {
    if (error instanceof ModelError) return [error.code, error.message]
    throw error
  }
  throw new Error("the model was accepted")
}
