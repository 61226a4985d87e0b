/**
 * `impossible.ts BACKEND`: a context larger than the device's memory is refused with an error that names the sizes. It leaves no memory
 * allocated, and the next context works.
 */

import { openGguf } from "../../src/gguf/reader.ts"
import { buildModel } from "../../src/models/registry.ts"
import { BLOCK_SIZE } from "../../src/native/abi.ts"
import { NativeError } from "../../src/native/errors.ts"
import { loadNative } from "../../src/native/library.ts"
import { backendArgument, freeMemory, generateOnce, MIB, report, withTinyModel } from "./support.ts"

const LIMITS = { nThreads: 1, maxTokens: 64, maxSeqs: 1, maxOutputs: 1, blockSize: BLOCK_SIZE }

const backend = backendArgument()
await withTinyModel(async (path) => {
  const before = await generateOnce(path, backend, Int32Array.of(1, 2, 3), 8)
  const library = loadNative(backend)
  const { plan, tensors, constants } = buildModel(await openGguf(path))
  using model = library.openModel({ device: 0, paths: [path], tensors, constants })
  const packed = plan.pack({ maxTokens: LIMITS.maxTokens, maxOutputs: LIMITS.maxOutputs, kvType: "f16" })
  model.openContext({ ...LIMITS, nBlocks: 8 }, packed).close()
  const free = freeMemory(library)
  const { memoryTotal } = library.deviceInfo(0)
  // One context needs a hundred times the device's memory, the other slightly more than all of it.
  for (const share of [100, 1.01]) {
    const nBlocks = Math.ceil((share * memoryTotal) / (plan.cacheBytesPerToken("f16") * BLOCK_SIZE))
    const error = refusal(() => model.openContext({ ...LIMITS, nBlocks }, packed))
    const clear = error?.status === "OUT_OF_MEMORY" || error?.status === "INVALID_ARGUMENT"
    report(clear, `${share} × the memory: ${error ? `${error.status}: ${error.message}` : "opened"}`)
  }
  const lost = (free - freeMemory(library)) / MIB
  report(lost <= 2, `the refusals kept ${lost.toFixed(1)} MiB`)
  model.openContext({ ...LIMITS, nBlocks: 8 }, packed).close()
  const after = await generateOnce(path, backend, Int32Array.of(1, 2, 3), 8)
  report(after.join() === before.join(), "the next context generates what it did before")
})

function refusal(open: () => { close(): void }): NativeError | undefined {
  try {
    open().close()
    return undefined
  } catch (error) {
    if (error instanceof NativeError) return error
    throw error
  }
}
