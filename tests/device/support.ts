/** Functions shared by the device checks. Each check is a program, `bun tests/device/NAME.ts BACKEND …`, with exit code 0 on success. */

import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { loadModel } from "../../src/engine/load.ts"
import type { LoadedModel } from "../../src/engine/types.ts"
import { GREEDY } from "../../src/engine/types.ts"
import type { Backend, NativeLibrary } from "../../src/native/library.ts"
import { writeTinyModel } from "../support/tiny-model.ts"

export const MIB = 2 ** 20

/** The program's first argument. */
export function backendArgument(): Backend {
  const name = process.argv[2]
  if (name === "cpu" || name === "amd" || name === "nvidia") return name
  throw new Error(`name a backend (cpu, amd or nvidia), not ${JSON.stringify(name)}`)
}

export function freeMemory(library: NativeLibrary): number {
  return library.deviceInfo(0).memoryFree
}

/** Calls `use` with the path of a small model in a temporary folder, which is deleted afterwards. */
export async function withTinyModel<T>(use: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "rocmforge-device-"))
  try {
    const path = join(folder, "tiny.gguf")
    await writeTinyModel(path, { hidden: 256, layers: 2, heads: 4, kv_heads: 2, ffn: 512, format: "Q8_0" })
    return await use(path)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Opens a model, generates greedily after `prompt`, and closes it. */
export async function generateOnce(
  path: string,
  device: string,
  prompt: Int32Array,
  nTokens: number,
): Promise<number[]> {
  await using model = await loadModel(path, { device, ctxSize: prompt.length + nTokens + 16, maxSeqs: 1 })
  return await greedy(model, prompt, nTokens)
}

/** The generated tokens, including a stop token. */
export async function greedy(model: LoadedModel, prompt: Int32Array, nTokens: number): Promise<number[]> {
  const stopTokens = new Set(model.tokenizer.eogIds)
  const tokens: number[] = []
  const request = { id: "device-check", tokens: prompt, sampling: GREEDY, maxTokens: nTokens, stopTokens }
  for await (const event of model.engine.generate(request)) if (event.type === "token") tokens.push(event.token)
  return tokens
}

/** Prints one line, and sets the exit code to 1 if the check failed. */
export function report(ok: boolean, line: string): void {
  console.log(`${ok ? "ok  " : "FAIL"} ${line}`)
  if (!ok) process.exitCode = 1
}
