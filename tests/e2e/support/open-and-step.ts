/** Opens a parsed model natively, runs a prompt and one more token, and closes everything. Used by the fuzzers. */

import { GgufError } from "../../../src/gguf/reader.ts"
import { ModelError } from "../../../src/models/errors.ts"
import type { ModelDefinition } from "../../../src/models/registry.ts"
import { BLOCK_SIZE } from "../../../src/native/abi.ts"
import { NativeError } from "../../../src/native/errors.ts"
import type { NativeLibrary } from "../../../src/native/library.ts"
import { STEP_RESULT_WORDS, Words } from "../../../src/native/step-structs.ts"
import { TokenizerError } from "../../../src/text/tokenizer/errors.ts"
import { packStep } from "../../support/kernel-step.ts"

export const LIMITS = { nThreads: 2, maxTokens: 24, maxSeqs: 2, maxOutputs: 2, nBlocks: 4, blockSize: BLOCK_SIZE }

export function openAndStep(native: NativeLibrary, definition: ModelDefinition, paths: readonly string[]): void {
  const { plan, tensors, constants, config } = definition
  const model = native.openModel({ device: 0, paths, tensors, constants })
  try {
    const context = model.openContext(LIMITS, plan.pack(LIMITS))
    const results = new Words(LIMITS.maxOutputs * STEP_RESULT_WORDS)
    const blocks = [3, 1]
    for (const { rows, kvLen } of [
      { rows: 19, kvLen: 19 },
      { rows: 1, kvLen: 20 },
    ]) {
      const tokens = Array.from({ length: rows }, (_, i) => (7 * i + 5) % config.nVocab)
      const outputs = [{ row: rows - 1, n_top: 5, temperature: 0.8, topK: 40, topP: 0.9 }]
      const { words } = packStep({ sequences: [{ rows, kvLen, blocks }], tokens, outputs })
      context.step(words.u32, words.length, results.u32)
    }
  } finally {
    model.close()
  }
}

/**
 * The class and code of an expected error for a damaged file.
 * @throws the error itself, when its class is not an expected one or it reports an internal fault of the native side
 */
export function expectedError(error: unknown): string {
  if (error instanceof NativeError && error.status !== "INTERNAL" && error.status !== "LIBRARY") {
    return `NativeError ${error.status}`
  }
  for (const known of [GgufError, ModelError, TokenizerError]) {
    if (error instanceof known) return `${error.name} ${error.code}`
  }
  throw error
}
