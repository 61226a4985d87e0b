/**
 * An engine process without a model, for tests of its supervisor. It counts from a prompt's last token upwards and misbehaves as
 * `faults.ts` says. Argument 4: the folder of the `FaultFiles`.
 */

import { LocalEngine } from "../../../src/engine/engine.ts"
import { runEngineProcess } from "../../../src/engine/process/child.ts"
import { ModelError } from "../../../src/models/errors.ts"
import { NativeError } from "../../../src/native/errors.ts"
import { NullContext } from "../../unit/engine/null-context.ts"
import { FAULTS, FaultFiles } from "./faults.ts"

const N_BLOCKS = 64
/** Lifetime of the process, longer than a test's limit: the process exits even if its test was killed. */
const FOR_EVER_MS = 200_000

const files = new FaultFiles(process.argv[3])

class FaultyContext extends NullContext {
  override step(step: Uint32Array, nWords: number, results: ArrayBufferView): void {
    super.step(step, nWords, results)
    const tokens = this.seen.splice(0).flatMap((seen) => seen.tokens)
    if (tokens.includes(FAULTS.fail)) throw new NativeError("DEVICE", "the GPU was lost")
    if (tokens.includes(FAULTS.exit)) process.exit(7)
    for (const gate of ["gate", "secondGate"] as const) {
      if (!tokens.includes(FAULTS[gate])) continue
      for (let ms = 0; ms < FOR_EVER_MS && !files.isSet(gate); ms++) Bun.sleepSync(1)
    }
    if (tokens.includes(FAULTS.hang)) {
      files.countHang()
      Bun.sleepSync(FOR_EVER_MS)
    }
  }
}

runEngineProcess(async (path, { onUpload }) => {
  for (const done of [0, 50, 100]) onUpload?.({ done, total: 100 })
  if (files.isSet("mute")) await new Promise(() => {})
  if (files.isSet("broken")) throw new ModelError("unsupported", path, "the test says so")
  const limits = { contextLength: 256, nVocab: 1000, maxSeqs: 4 }
  const context = new FaultyContext(N_BLOCKS)
  const engine = new LocalEngine(context, { nBlocks: N_BLOCKS, maxTokens: 64, limits, maxQueue: 8 })
  return { engine, device: { backend: "none", name: "none" }, threads: 1, memory: { weights: 0, cache: 0 } }
})
