/**
 * Child process: loads damaged GGUF files through the whole load path, and runs one step with those that load.
 *
 *   fuzz-files.ts FOLDER header|weights COUNT
 *
 * `header` damages whole files as tests/support/gguf-mutate.ts does, which nearly always hits the header; `weights` only damages
 * tensor data, so that every file loads and the kernels receive infinities, NaNs and blocks that no quantizer writes.
 * It prints each seed before its case, which identifies a crash, then `{seed, outcome}`, and `{leaks}` at the end.
 */

import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { loadNative } from "../../../src/native/library.ts"
import { tokenizerFromMetadata } from "../../../src/text/tokenizer/tokenizer.ts"
import { seededRandom } from "../../support/gguf-fixtures.ts"
import { headerFields } from "../../support/gguf-layout.ts"
import { type Mutant, mutateGguf } from "../../support/gguf-mutate.ts"
import { type TinyModelOptions, tinyModel } from "../../support/tiny-model.ts"
import { expectedError, openAndStep } from "./open-and-step.ts"
import { countLeaks, dropSignalStack } from "./sanitizer.ts"

/** Every family, and formats of every layout: plain, with and without a minimum, with 256 elements per block. */
const BASES: readonly TinyModelOptions[] = [
  { arch: "llama", format: "F32" },
  { arch: "llama", format: (name) => (name.includes("ffn_down") ? "Q8_0" : "Q4_1"), tied: true },
  {
    arch: "llama",
    format: "F16",
    rope: { type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_context: 64 },
  },
  { arch: "qwen2", format: (name) => (name.includes("attn_q") ? "Q5_0" : name.includes("attn_v") ? "IQ4_NL" : "BF16") },
  { arch: "qwen3", hidden: 256, ffn: 256, layers: 1, format: (name) => (name.includes("ffn") ? "Q4_K" : "Q6_K") },
  { arch: "mistral", format: "Q4_0", sliding_window: 8, rope: { type: "yarn", factor: 4, original_context: 64 } },
]

const [folder = ".", kind = "header", count = "0"] = process.argv.slice(2)
const files = BASES.map(tinyModel)
dropSignalStack()
const native = loadNative("cpu")
for (let seed = 0; seed < Number(count); seed++) {
  // mutateGguf selects one of four mutations by the seed modulo 4. Each base file gets all of them.
  const base = Math.floor(seed / 4) % files.length
  const file = files[base] as Uint8Array
  const { bytes, description } =
    kind === "weights" ? damageWeights(file, seed) : mutateGguf(file, seed, files[(base + 1) % files.length])
  console.log(`seed ${seed}: base ${base}, ${description}`)
  const path = join(folder, `mutant-${seed}.gguf`)
  await Bun.write(path, bytes)
  let outcome = "loaded"
  try {
    const gguf = await openGguf(path)
    tokenizerFromMetadata((key) => gguf.metadata.get(key)?.value)
    openAndStep(
      native,
      buildModel(gguf),
      gguf.files.map((each) => each.path),
    )
  } catch (error) {
    outcome = expectedError(error)
  }
  console.log(JSON.stringify({ seed, outcome }))
}
console.log(JSON.stringify({ leaks: countLeaks() }))

/** Overwrites 200 bytes of tensor data. Every second byte is 0x7f or 0xff, as in the exponents of infinities and NaNs. */
function damageWeights(file: Uint8Array, seed: number): Mutant {
  const random = seededRandom(seed)
  const { end } = headerFields(file)
  const bytes = file.slice()
  for (let i = 0; i < 200; i++) {
    const at = end + Math.floor(random() * (bytes.length - end))
    bytes[at] = random() < 0.5 ? Math.floor(random() * 256) : 0x7f | (random() < 0.5 ? 0x80 : 0)
  }
  return { bytes, description: "200 bytes of tensor data changed" }
}
