import type { Command } from "commander"
import { chooseDevice } from "../engine/device.ts"
import { type LoadedModel, loadModel } from "../engine/load.ts"
import { type Gguf, openGguf } from "../gguf/reader.ts"
import { resolveModel } from "../store/resolve.ts"
import { tokenizerFromMetadata } from "../text/tokenizer/tokenizer.ts"
import type { Tokenizer } from "../text/tokenizer/types.ts"
import { readOptions } from "./options.ts"
import { note } from "./output.ts"
import { showProgress } from "./progress.ts"

/** Options of every command that runs a model. */
export const ENGINE_OPTIONS = ["device", "threads", "ctxSize", "kvType"] as const

/** The file behind a model's name, downloaded with a progress display when it is not here yet. */
export const findModel = (name: string): Promise<string> => resolveModel(name, { onProgress: showProgress() })

/** A model's metadata and tensor directory; no weights. */
export const openModelFile = async (name: string): Promise<Gguf> => openGguf(await findModel(name))

/** A file's tokenizer, from its metadata alone. */
export const tokenizerOf = (gguf: Gguf): Tokenizer => tokenizerFromMetadata((key) => gguf.metadata.get(key)?.value)

/** Loads a model as the command's engine options say. @throws DeviceError before anything is downloaded or read. */
export async function loadFor(
  command: Command,
  name: string,
  limits: { max_seqs?: number } = {},
): Promise<LoadedModel> {
  const { device, threads, ctxSize, kvType } = readOptions(command, ENGINE_OPTIONS)
  const choice = chooseDevice(device)
  if (choice.note) note(choice.note)
  const path = await findModel(name)
  return loadModel(path, {
    device: choice.backend === "cpu" ? "cpu" : `${choice.backend}:${choice.index}`,
    kv_type: kvType,
    ...(threads !== undefined && { threads }),
    ...(ctxSize !== undefined && { ctx_size: ctxSize }),
    ...limits,
  })
}
