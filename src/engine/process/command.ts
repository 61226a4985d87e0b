import { existsSync } from "node:fs"
import { join } from "node:path"
import { EngineError } from "../types.ts"

/** The hidden command under which the executable runs an engine for its parent; see `cli.ts`. */
export const ENGINE_COMMAND = "__engine"

/**
 * The command line that runs this program again as an engine.
 * @param label Shows in lists of processes which engine it is; nothing reads it.
 * @throws EngineError in an engine process: a program that starts engines has to know the command, or it would start itself for ever.
 */
export function engineCommand(label: string): string[] {
  if (process.argv[2] === ENGINE_COMMAND) {
    throw new EngineError(
      `this program does not know its own command ${ENGINE_COMMAND}; begin it as ROCmForge's cli.ts does`,
    )
  }
  return [...programCommand(), ENGINE_COMMAND, label]
}

/** The command line that runs this program again, to which its arguments are added. */
export function programCommand(): string[] {
  // A compiled executable is the program, and finds its sources in a file system of its own.
  const compiled = import.meta.dir.startsWith("/$bunfs/")
  const source = join(import.meta.dir, "../../cli.ts")
  // One file made of all sources is its own entry.
  const entry = compiled ? [] : [existsSync(source) ? source : Bun.main]
  return [process.execPath, ...entry]
}
