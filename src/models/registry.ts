/** The model families, one line each, and the definition of a GGUF file's model for the native library. */

import type { Gguf } from "../gguf/reader.ts"
import { BLOCK_SIZE, type PackedTensors } from "../native/abi.ts"
import type { Dtype } from "../native/ops.ts"
import type { Plan } from "../plan/plan.ts"
import type { ModelConfig } from "./config.ts"
import { type ModelFamily, type RankHead, recordDecoder } from "./decoder.ts"
import { ModelError } from "./errors.ts"
import { llama } from "./families/llama.ts"
import { qwen2 } from "./families/qwen2.ts"
import { qwen3 } from "./families/qwen3.ts"

const FAMILIES: readonly ModelFamily[] = [llama, qwen2, qwen3]

/** Supported values of `general.architecture`. */
export const ARCHITECTURES: readonly string[] = FAMILIES.flatMap(({ architectures }) => architectures)

/** Memory that a model needs, in bytes. */
export interface MemoryNeed {
  weights: number
  /** K/V caches. */
  kv: number
  /** Activations. */
  arena: number
  total: number
}

interface MemoryOptions {
  /** Tokens of context in the caches, summed over all sequences. */
  contextLength: number
  /** Most rows and outputs of one step; 512 and 1 by default. */
  maxTokens?: number
  maxOutputs?: number
  /** f16 by default. */
  kvType?: Dtype
}

/** A model's plan and weights in the form that the native library opens, with its configuration. */
export interface ModelDefinition {
  arch: string
  config: ModelConfig
  plan: Plan
  tensors: PackedTensors
  constants: Uint8Array
  /** Elements of all tensors in the file. */
  parameters: number
  /** Reads the output norm's weight, f32 [hidden_size], from the file. */
  outputNorm: () => Float32Array
  /** Reads the head of a model that ranks texts from the file; `undefined`: it has none. */
  rankHead: () => RankHead | undefined
  memory(options: MemoryOptions): MemoryNeed
}

/**
 * Records the plan of a model. Reads no weights except small vectors.
 * @throws ModelError `unknown-architecture`, with the supported ones, and the errors of a model that its family cannot run; GgufError for
 *   a missing key and for an unsupported weight format.
 */
export function buildModel(gguf: Gguf): ModelDefinition {
  const arch = gguf.getString("general.architecture")
  const family = FAMILIES.find(({ architectures }) => architectures.includes(arch))
  if (family === undefined) {
    const known = ARCHITECTURES.join(", ")
    throw new ModelError("unknown-architecture", gguf.path, `unknown architecture "${arch}"; known are ${known}`)
  }
  const { config, plan, outputNorm, rankHead } = recordDecoder(gguf, family)
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
    rankHead,
    parameters: infos.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0),
    memory({ contextLength, maxTokens = 512, maxOutputs = 1, kvType = "f16" }) {
      const tokens = Math.ceil(contextLength / BLOCK_SIZE) * BLOCK_SIZE
      const kv = tokens * plan.cacheBytesPerToken(kvType)
      const arena = plan.arena({ maxTokens, maxOutputs }).arenaBytes
      return { weights, kv, arena, total: weights + kv + arena }
    },
  }
}
