/**
 * How this program starts threads and children of itself. It runs from its sources, as one bundled file, or as a compiled
 * executable; in the last two a thread or child begins at the program's entry, `cli.ts`, which looks here for what to become.
 */

import { existsSync } from "node:fs"
import { join } from "node:path"
import { EngineError } from "./errors.ts"

/** The hidden command under which the executable runs an engine for its parent. */
export const ENGINE_COMMAND = "__engine"

/** `workerData` of the thread that encodes long texts; the thread that compiles grammars has none. */
export const ENCODER = "encoder"

/** A compiled executable finds its sources in a file system of its own. */
const COMPILED = import.meta.dir.startsWith("/$bunfs/")

/** What a `Worker` runs. @param source The thread's own file, relative to `src/`. */
export function threadProgram(source: string): string {
  const path = join(import.meta.dir, source)
  return !COMPILED && existsSync(path) ? path : Bun.main
}

/** The command line that runs this program again; the caller adds its arguments. */
export function programCommand(): string[] {
  if (COMPILED) return [process.execPath]
  const source = join(import.meta.dir, "cli.ts")
  return [process.execPath, existsSync(source) ? source : Bun.main]
}

/**
 * The command line that runs this program again as an engine.
 * @param label Shows in lists of processes which engine it is; nothing reads it.
 * @throws EngineError in an engine process: a program without this command would start copies of itself without end.
 */
export function engineCommand(label: string): string[] {
  if (process.argv[2] === ENGINE_COMMAND) {
    throw new EngineError(`this program has no command ${ENGINE_COMMAND}; start it the way ROCmForge's cli.ts does`)
  }
  return [...programCommand(), ENGINE_COMMAND, label]
}
