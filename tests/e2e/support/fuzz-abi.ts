/**
 * Child process: passes tensor tables, plans and steps with single corrupted words to the native library, without the checks of the
 * TypeScript side.
 *
 *   fuzz-abi.ts FOLDER COUNT
 *
 * The output has the format of fuzz-files.ts.
 */

import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { BLOCK_SIZE } from "../../../src/native/abi.ts"
import { loadNative } from "../../../src/native/library.ts"
import { STEP_RESULT_WORDS, Words } from "../../../src/native/step-structs.ts"
import { seededRandom } from "../../support/gguf-fixtures.ts"
import { packStep } from "../../support/kernel-step.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"
import { expectedError, LIMITS } from "./open-and-step.ts"
import { countLeaks, dropSignalStack } from "./sanitizer.ts"

/** Words likely to break bounds checks. Small numbers and neighbours of the right word are tried as well. */
const ATTACKS = [0, 1, 2, 15, 16, 17, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff]

const [folder = ".", count = "0"] = process.argv.slice(2)
const path = join(folder, "whole.gguf")
await writeTinyModel(path, { arch: "qwen2", format: (name) => (name.includes("ffn") ? "Q4_1" : "Q8_0") })
const definition = buildModel(await openGguf(path))
dropSignalStack()
const native = loadNative("cpu")

for (let seed = 0; seed < Number(count); seed++) {
  const target = (["tensors", "ops", "buffers", "caches", "step", "step"] as const)[seed % 6] as Target
  const random = seededRandom(seed + 1)
  console.log(`seed ${seed}: ${target}`)
  let outcome = "ran"
  try {
    attempt(target, random)
  } catch (error) {
    outcome = expectedError(error)
  }
  console.log(JSON.stringify({ seed, outcome }))
}
console.log(JSON.stringify({ leaks: countLeaks() }))

type Target = "tensors" | "ops" | "buffers" | "caches" | "step"

function attempt(target: Target, random: () => number): void {
  const spoiled = (name: Target, bytes: Uint8Array) => (name === target ? spoil(bytes, random) : bytes)
  const { tensors, constants, plan } = definition
  const table = { ...tensors, data: spoiled("tensors", tensors.data) }
  const model = native.openModel({ device: 0, paths: [path], tensors: table, constants })
  try {
    const packed = plan.pack(LIMITS)
    const context = model.openContext(LIMITS, {
      ...packed,
      ops: spoiled("ops", packed.ops),
      buffers: spoiled("buffers", packed.buffers),
      caches: spoiled("caches", packed.caches),
    })
    const results = new Words(LIMITS.maxOutputs * STEP_RESULT_WORDS)
    const { words } = packStep({
      sequences: [
        { rows: 5, kvLen: 21, blocks: [3, 1] },
        { rows: 2, kvLen: 2, blocks: [0] },
      ],
      tokens: [5, 12, 19, 26, 33, 40, 47],
      outputs: [
        { row: 4, n_top: 3, penalties: [[40, 1]], biases: [[7, 1.5]] },
        { row: 6, temperature: 0.7, top_p: 0.9, min_p: 0.05, mask: new Uint32Array(10).fill(0xffff_fffe) },
      ],
    })
    const bytes = spoiled("step", new Uint8Array(words.u32.buffer))
    // Exactly as long as the step, so that the sanitizer detects a read past its end.
    const step = new Uint32Array(bytes.slice().buffer)
    context.step(step, step.length, results.u32)
    context.step(step, step.length, results.u32)
  } finally {
    model.close()
  }
}

/** A copy with one to three words changed. */
function spoil(bytes: Uint8Array, random: () => number): Uint8Array {
  const copy = bytes.slice()
  const view = new DataView(copy.buffer)
  const below = (limit: number) => Math.floor(random() * limit)
  for (let i = 0; i <= below(3); i++) {
    const at = 4 * below(copy.length / 4)
    const old = view.getUint32(at, true)
    const choices = [
      ATTACKS[below(ATTACKS.length)] ?? 0,
      old + 1,
      old - 1,
      old ^ (1 << below(32)),
      below(64),
      BLOCK_SIZE * below(64),
    ]
    view.setUint32(at, choices[below(choices.length)] ?? 0, true)
  }
  return copy
}
