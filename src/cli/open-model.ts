import { basename } from "node:path"
import type { Command } from "commander"
import { chooseDevice } from "../engine/device.ts"
import { type LoadedModel, loadModel } from "../engine/load.ts"
import { catalogEntry } from "../store/catalog.ts"
import { findModel } from "./model-file.ts"
import { readOptions } from "./options.ts"
import { note } from "./output.ts"
import { showUpload } from "./progress.ts"

/** Options of every command that runs a model. */
export const ENGINE_OPTIONS = ["device", "threads", "ctxSize", "kvType", "dtype", "mmap"] as const

/** Loads a model as the command's engine options say. @throws DeviceError before anything is downloaded or read. */
export async function loadFor(
  command: Command,
  name: string,
  limits: { max_seqs?: number } = {},
): Promise<LoadedModel> {
  const { device, threads, ctxSize, kvType, dtype, mmap } = readOptions(command, ENGINE_OPTIONS)
  const choice = chooseDevice(device)
  if (choice.note) note(choice.note)
  const path = await findModel(name)
  const entry = catalogEntry(name)
  return loadModel(path, {
    device: choice.backend === "cpu" ? "cpu" : `${choice.backend}:${choice.index}`,
    kv_type: kvType,
    dtype,
    mmap,
    onUpload: showUpload(basename(path)),
    // A name from the catalog is also the model's name in the API; a file is called after itself.
    ...(entry && { name: entry.name }),
    ...(threads !== undefined && { threads }),
    ...(ctxSize !== undefined && { ctx_size: ctxSize }),
    ...limits,
  })
}
