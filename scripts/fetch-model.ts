/**
 * Downloads the default model into the store if it is not there, with progress on standard error.
 * With `--check`, the exit code is 0 if the model is in the store, and nothing is downloaded.
 */

import { join } from "node:path"
import { showProgress } from "../src/cli/progress.ts"
import { catalogEntry, DEFAULT_MODEL } from "../src/store/catalog.ts"
import { isGenuine } from "../src/store/checksum.ts"
import { modelsFolder } from "../src/store/home.ts"
import { resolveEntry } from "../src/store/resolve.ts"

const entry = catalogEntry(DEFAULT_MODEL)
if (!entry) throw new Error(`${DEFAULT_MODEL} is not in the catalog`)

if (process.argv.includes("--check")) {
  const path = join(modelsFolder(), entry.name, entry.file)
  process.exitCode = (await isGenuine(path, entry)) ? 0 : 1
} else {
  try {
    console.error(`model: ${await resolveEntry(entry, { onProgress: showProgress() })}`)
  } catch (error) {
    console.error(`fetch-model: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
}
