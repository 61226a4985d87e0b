import { homedir } from "node:os"
import { isAbsolute, join, resolve } from "node:path"

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The folder of downloaded models: `ROCMFORGE_HOME`, else `XDG_CACHE_HOME/rocmforge`, else `~/.cache/rocmforge`.
 * An empty variable counts as unset; a relative `XDG_CACHE_HOME` is ignored, as the XDG base directory specification requires.
 */
export function storeHome(env: Environment = process.env): string {
  if (env.ROCMFORGE_HOME) return resolve(env.ROCMFORGE_HOME)
  const cache = env.XDG_CACHE_HOME
  if (cache && isAbsolute(cache)) return join(cache, "rocmforge")
  return join(env.HOME || homedir(), ".cache", "rocmforge")
}

/** The folder of complete model files. */
export const modelsFolder = (env?: Environment): string => join(storeHome(env), "models")
