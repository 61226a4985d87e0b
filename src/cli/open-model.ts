import { basename } from "node:path"
import type { Command } from "commander"
import { chooseDevice } from "../engine/device.ts"
import { type LoadOptions, loadModel } from "../engine/load.ts"
import type { LoadedModel } from "../engine/types.ts"
import { catalogEntry } from "../store/catalog.ts"
import { findModel } from "./model-argument.ts"
import { readOptions } from "./options/commander.ts"
import { note } from "./output.ts"
import { showUpload } from "./progress.ts"

/** Options of every command that runs a model. */
export const ENGINE_OPTIONS = ["device", "threads", "ctxSize", "kvType", "dtype", "mmap", "deterministic"] as const

/** The load options that a command's engine options give, for a device that was chosen. */
export function loadOptions(command: Command, device: string): LoadOptions {
  const { threads, ctxSize, kvType, dtype, mmap, deterministic } = readOptions(command, ENGINE_OPTIONS)
  return {
    device,
    deterministic,
    kvType: kvType,
    dtype,
    mmap,
    ...(threads !== undefined && { threads }),
    ...(ctxSize !== undefined && { ctxSize: ctxSize }),
  }
}

/** The model's name in the API: its name in the catalog, or the name of its file without `.gguf`. */
export const apiName = (name: string, path: string): string =>
  catalogEntry(name)?.name ?? basename(path).replace(/\.gguf$/i, "")

/** Loads a model with the command's engine options. @throws DeviceError before anything is downloaded or read. */
export async function loadFor(
  command: Command,
  name: string,
  more: Pick<LoadOptions, "maxSeqs" | "fullLengths" | "speculative"> = {},
): Promise<LoadedModel> {
  const { backend, index, note: why } = chooseDevice(readOptions(command, ENGINE_OPTIONS).device)
  if (why) note(why)
  const path = await findModel(name)
  const onUpload = showUpload(basename(path))
  return loadModel(path, {
    ...loadOptions(command, `${backend}:${index}`),
    name: apiName(name, path),
    onUpload,
    ...more,
  })
}
