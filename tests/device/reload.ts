/**
 * `reload.ts BACKEND [MODEL.gguf] [TIMES]`: loads a model, generates, and unloads it, 50 times. After every round the used device memory
 * must be that after the first round (which creates the driver's own context), and every round must give the same tokens.
 */

import { loadNative } from "../../src/native/library.ts"
import { backendArgument, freeMemory, generateOnce, MIB, report, withTinyModel } from "./support.ts"

/** Tolerance in bytes: drivers allocate memory in chunks, and another process may allocate a little. */
const SLACK = 2 * MIB

const backend = backendArgument()
const times = Number(process.argv[4] ?? 50)
if (process.argv[3]) await reload(process.argv[3])
else await withTinyModel(reload)

async function reload(path: string): Promise<void> {
  const library = loadNative(backend)
  const prompt = Int32Array.of(5, 17, 40, 9)
  const start = freeMemory(library)
  const first = (await generateOnce(path, backend, prompt, 4)).join(" ")
  const settled = freeMemory(library)
  let least = settled
  let changed = 0
  for (let i = 1; i < times; i++) {
    if ((await generateOnce(path, backend, prompt, 4)).join(" ") !== first) changed++
    least = Math.min(least, freeMemory(library))
  }
  const end = freeMemory(library)
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`
  const line = `free ${mib(start)} at first, ${mib(settled)} after one load and unload, ${mib(end)} after ${times} (least ${mib(least)})`
  report(settled - end <= SLACK, line)
  report(changed === 0, `${times - changed} of ${times} loads gave the same tokens (${first})`)
}
