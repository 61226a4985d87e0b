/** A model whose engine runs in a child process, so that a GPU fault does not end the server. */

import { basename, resolve } from "node:path"
import { engineCommand } from "../../program.ts"
import { joinModel, type LoadOptions, readModel } from "../load.ts"
import type { LoadedModel } from "../types.ts"
import { SupervisedEngine, type SupervisedEngineOptions } from "./supervised-engine.ts"

export { ENGINE_COMMAND } from "../../program.ts"
export { SupervisedEngine } from "./supervised-engine.ts"

export interface SuperviseOptions
  extends LoadOptions,
    Partial<
      Pick<SupervisedEngineOptions, "watchdogMs" | "startMs" | "maxHeld" | "backOff" | "command" | "onReport" | "clock">
    > {
  /** Cancels loading. Has no effect once the model is loaded. */
  signal?: AbortSignal
}

export type SupervisedModel = LoadedModel & { engine: SupervisedEngine }

/**
 * Opens a GGUF file as `loadModel` does, with the engine in a child process that is restarted when it fails. Resolves when the engine is
 * ready. Without `onReport`, faults and restarts are written to standard error.
 * @throws what `loadModel` throws, or EngineError when the process ends before it is ready, or the signal fires.
 */
export async function superviseModel(path: string, options: SuperviseOptions = {}): Promise<SupervisedModel> {
  const {
    name,
    watchdogMs,
    startMs,
    maxHeld = options.maxQueue,
    backOff,
    command,
    clock,
    onReport,
    onUpload,
    signal,
    ...load
  } = options
  const label = name ?? basename(path, ".gguf")
  const engine = new SupervisedEngine({
    path: resolve(path),
    name: label,
    load,
    command: command ?? engineCommand(label),
    onReport: onReport ?? ((line) => console.error(`rocmforge: ${line}`)),
    onUpload,
    watchdogMs,
    ...(startMs !== undefined && { startMs }),
    ...(maxHeld !== undefined && { maxHeld }),
    ...(backOff && { backOff }),
    ...(clock && { clock }),
  })
  const giveUp = () => void engine.close()
  signal?.addEventListener("abort", giveUp, { once: true })
  try {
    if (signal?.aborted) giveUp()
    // Both read the file's header at the same time. An error of the device takes precedence, as in `loadModel`.
    const [facts, file] = await Promise.allSettled([engine.started, readModel(path)])
    if (facts.status === "rejected") throw facts.reason
    if (file.status === "rejected") throw file.reason
    return joinModel(file.value, { engine, ...facts.value }, name)
  } catch (error) {
    await engine.close()
    throw error
  } finally {
    signal?.removeEventListener("abort", giveUp)
  }
}
