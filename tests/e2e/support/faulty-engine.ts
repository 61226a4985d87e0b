/**
 * An engine process without a model, for tests of its supervisor. It counts from a prompt's last token upwards, 5 ms a token, and
 * does what tokens say: see `FAULTS`. Argument 4: a file; where it exists the engine cannot be loaded, or, if it says `hang`, never is.
 */

import { existsSync, readFileSync } from "node:fs"
import { LocalEngine } from "../../../src/engine/engine.ts"
import { runEngineProcess } from "../../../src/engine/process/child.ts"
import { ModelError } from "../../../src/models/errors.ts"
import { NativeError } from "../../../src/native/errors.ts"
import { NullContext } from "../../unit/engine/null-context.ts"
import { FAULTS } from "./faults.ts"

const N_BLOCKS = 64

class FaultyContext extends NullContext {
  override step(step: Uint32Array, nWords: number, results: ArrayBufferView): void {
    Bun.sleepSync(5)
    super.step(step, nWords, results)
    const tokens = this.seen.splice(0).flatMap((seen) => seen.tokens)
    if (tokens.includes(FAULTS.fail)) throw new NativeError("DEVICE", "the GPU was lost")
    if (tokens.includes(FAULTS.exit)) process.exit(7)
    if (tokens.includes(FAULTS.slow)) Bun.sleepSync(1000)
    if (tokens.includes(FAULTS.hang)) Bun.sleepSync(60_000)
  }
}

const broken = process.argv[3]

runEngineProcess(async (path, { onUpload }) => {
  for (const done of [0, 50, 100]) onUpload?.({ done, total: 100 })
  if (broken !== undefined && existsSync(broken)) {
    if (readFileSync(broken, "utf8") === "hang") await new Promise(() => {})
    throw new ModelError("unsupported", path, "the test says so")
  }
  const limits = { contextLength: 256, nVocab: 1000, maxSeqs: 4 }
  const context = new FaultyContext(N_BLOCKS)
  const engine = new LocalEngine(context, { nBlocks: N_BLOCKS, maxTokens: 64, limits, maxQueue: 8 })
  return { engine, device: { backend: "none", name: "none" }, threads: 1, memory: { weights: 0, cache: 0 } }
})
