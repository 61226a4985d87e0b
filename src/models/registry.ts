/** The families that ROCmForge knows, and the way from a GGUF file to a model that can be opened. */

import type { Gguf } from "../gguf/reader.ts"
import type { PackedTensors } from "../native/abi.ts"
import type { Dtype } from "../plan/ops.ts"
import type { Plan } from "../plan/plan.ts"
import type { ModelConfig } from "./config.ts"
import { type ModelFamily, recordDecoder } from "./decoder.ts"
import { ModelError } from "./errors.ts"
import { llama } from "./families/llama.ts"
import { qwen2 } from "./families/qwen2.ts"
import { qwen3 } from "./families/qwen3.ts"

const FAMILIES: readonly ModelFamily[] = [llama, qwen2, qwen3]

/** Values of `general.architecture` that can be run. */
export const ARCHITECTURES: readonly string[] = FAMILIES.flatMap(({ architectures }) => architectures)

/** Bytes that running a model takes. */
export interface MemoryNeed {
  weights: number
  /** K/V caches. */
  kv: number
  /** Activations. */
  arena: number
  total: number
}

export interface MemoryOptions {
  /** Tokens of context that the caches hold, over all sequences. */
  contextLength: number
  /** Rows and outputs of one step; 512 and 1 by default. */
  maxTokens?: number
  maxOutputs?: number
  /** f16 by default. */
  kvType?: Dtype
}

/** A model as the native library takes it, and what is worth knowing about it. */
export interface ModelDefinition {
  arch: string
  config: ModelConfig
  plan: Plan
  tensors: PackedTensors
  constants: Uint8Array
  /** Weights of all tensors in the file. */
  parameters: number
  /** Reads the output norm's weight, f32 [hidden_size], from the file. */
  outputNorm: () => Float32Array
  memory(options: MemoryOptions): MemoryNeed
}

/** Tokens of a K/V block. */
export const BLOCK_SIZE = 16

/**
 * Records the plan of a model.
 * @throws ModelError `unknown-architecture` with the list of known ones, or what is wrong with the model; GgufError for a key
 *   that is missing and for a weight format that is not supported.
 */
export function buildModel(gguf: Gguf): ModelDefinition {
  const arch = gguf.getString("general.architecture")
  const family = FAMILIES.find(({ architectures }) => architectures.includes(arch))
  if (family === undefined) {
    const known = ARCHITECTURES.join(", ")
    throw new ModelError("unknown-architecture", gguf.path, `unknown architecture "${arch}"; known are ${known}`)
  }
  const { config, plan, outputNorm } = recordDecoder(gguf, family)
  const { tensors, constants } = plan.packTensors()
  const infos = [...gguf.tensors.values()]
  const weights = infos.reduce((sum, { nBytes }) => sum + nBytes, 0) + constants.length
  return {
    arch,
    config,
    plan,
    tensors,
    constants,
    outputNorm,
    parameters: infos.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
    memory({ contextLength, maxTokens = 512, maxOutputs = 1, kvType = "f16" }) {
      const tokens = Math.ceil(contextLength / BLOCK_SIZE) * BLOCK_SIZE
      const kv = tokens * plan.cacheBytesPerToken(kvType)
      const arena = plan.arena({ maxTokens, maxOutputs }).arenaBytes
      return { weights, kv, arena, total: weights + kv + arena }
    },
  }
}
