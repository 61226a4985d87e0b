/**
 * How the program starts threads and child processes of itself. It runs from its sources, as one bundled file, or as a compiled executable.
 * In the last two cases, threads and children start at `cli.ts`, which uses these constants to select what to run.
 */

import { existsSync } from "node:fs"
import { join } from "node:path"
import { EngineError } from "./errors.ts"

/** Hidden command that runs an engine process. */
export const ENGINE_COMMAND = "__engine"

/** `workerData` of the thread that encodes long texts. The thread that computes token masks has none. */
export const ENCODER = "encoder"

/** A compiled executable has its sources in a virtual file system. */
const COMPILED = import.meta.dir.startsWith("/$bunfs/")

/** Path of a thread's program, for `Worker`. @param source The thread's own file, relative to `src/`. */
export function threadProgram(source: string): string {
  const path = join(import.meta.dir, source)
  return !COMPILED && existsSync(path) ? path : Bun.main
}

/** Command line that starts this program again. The caller adds arguments. */
export function programCommand(): string[] {
  if (COMPILED) return [process.execPath]
  const source = join(import.meta.dir, "cli.ts")
  return [process.execPath, existsSync(source) ? source : Bun.main]
}

/**
 * Command line that starts this program as an engine process.
 * @param label Identifies the engine in process lists. Nothing else uses it.
 * @throws EngineError in an engine process: a program that does not handle the command would start copies of itself without end.
 */
export function engineCommand(label: string): string[] {
  if (process.argv[2] === ENGINE_COMMAND) {
    throw new EngineError(`this program has no command ${ENGINE_COMMAND}; handle it as ROCmForge's cli.ts does`)
  }
  return [...programCommand(), ENGINE_COMMAND, label]
}
