import { smallestChunk, tokenCost } from "../engine/cost.ts"
import { type Engine, type EngineLimits, GREEDY, type LoadedModel, type Usage } from "../engine/types.ts"
import { EngineError } from "../errors.ts"
import { buildModel } from "../models/registry.ts"
import { BLOCK_SIZE } from "../native/abi.ts"
import type { Dtype } from "../native/ops.ts"
import { type DecodeTraffic, decodeTraffic, prefillOperations } from "./bench-traffic.ts"
import { type Spread, spread } from "./format.ts"

/** `concurrency` sequences decode at the same time. Each generates `tokens` measured tokens after `context` prompt tokens. */
export interface DecodeShape {
  concurrency: number
  context: number
  tokens: number
}

interface PrefillResult {
  tokens: number
  tokens_per_second: Spread
  /** Share of the matrix rate measured in the same run. Counts the plan's matrix products and attention, two operations per multiply-add. */
  matrix_share: number | null
}

export interface DecodeResult extends DecodeShape {
  /** All sequences together. */
  tokens_per_second: Spread
  bytes_per_step: DecodeTraffic
  bytes_per_second: number
  /** Share of the memory bandwidth measured in the same run. */
  bandwidth_share: number
}

export interface BenchResult {
  model: string
  device: { backend: string; name: string }
  threads: number
  /** Bytes per second, read by the CPU's threads or copied by the GPU. */
  bandwidth: number
  /** Operations per second of a GPU's matrix instructions on half floats in registers. `null` on the CPU. */
  matrix_rate: number | null
  prefill: PrefillResult[]
  decode: DecodeResult[]
}

export interface BenchPlan {
  prompts: readonly number[]
  decodes: readonly DecodeShape[]
  repetitions: number
  kvType: Dtype
  bandwidth: number
  matrixRate: number | null
}

/** A model, and the steps of its engine. */
type StepShape = Pick<LoadedModel, "config"> & Pick<EngineLimits, "batchTokens" | "chunkTokens">

/** Tokens of context that the longest request of the plan needs. */
export function contextNeeded(model: StepShape, { prompts, decodes }: Pick<BenchPlan, "prompts" | "decodes">): number {
  const ofDecodes = decodes.map((shape) => shape.context + outputsOf(model, shape))
  return Math.max(...prompts.map((tokens) => tokens + 1), ...ofDecodes)
}

/** Measures the plan. Each result is the median of several runs after one warm-up. */
export async function benchModel(model: LoadedModel, plan: BenchPlan): Promise<BenchResult> {
  const { engine, threads } = model
  const { bandwidth, matrixRate } = plan
  const counted = buildModel(model.gguf)
  const prefill: PrefillResult[] = []
  for (const tokens of plan.prompts) {
    const rate = await measure(plan.repetitions, (run) => prefillRate(engine, tokens, run))
    const matrixShare = matrixRate === null ? null : (rate.median * prefillOperations(counted, tokens)) / matrixRate
    prefill.push({ tokens, tokens_per_second: rate, matrix_share: matrixShare })
  }
  const decode: DecodeResult[] = []
  for (const shape of plan.decodes) {
    const rate = await measure(plan.repetitions, (run) => decodeRate(model, shape, run))
    const traffic = decodeTraffic(counted, plan.kvType, shape)
    const bytesPerSecond = (rate.median / shape.concurrency) * (traffic.weights + traffic.kv)
    decode.push({
      ...shape,
      tokens_per_second: rate,
      bytes_per_step: traffic,
      bytes_per_second: bytesPerSecond,
      bandwidth_share: bytesPerSecond / bandwidth,
    })
  }
  return { model: model.name, device: model.device, threads, bandwidth, matrix_rate: matrixRate, prefill, decode }
}

/** Runs one warm-up, then `repetitions` measurements. */
async function measure(repetitions: number, once: (run: number) => Promise<number>): Promise<Spread> {
  const rates: number[] = []
  for (let run = 0; run <= repetitions; run++) {
    const rate = await once(run)
    if (run > 0) rates.push(rate)
  }
  return spread(rates)
}

/** Measures prompt tokens per second, up to the first generated token. */
async function prefillRate(engine: Engine, tokens: number, run: number): Promise<number> {
  const request = {
    id: "prefill",
    tokens: promptOf(engine, tokens, run),
    sampling: GREEDY,
    maxTokens: 1,
    cacheSalt: unique(),
  }
  let usage: Usage | undefined
  for await (const event of engine.generate({ ...request, stopTokens: new Set() }))
    if (event.type === "end") usage = event.usage
  if (!usage) throw new EngineError("the engine ended the request without an end event")
  return (1000 * tokens) / usage.prefillMs
}

/**
 * Measures tokens per second of all sequences together, from the last sequence's first token to its last one: in this time, every step
 * gives every sequence a token. Sequences that began earlier keep generating until then.
 */
async function decodeRate(model: LoadedModel, shape: DecodeShape, run: number): Promise<number> {
  const { engine, config } = model
  const maxTokens = outputsOf({ config, ...engine.limits }, shape)
  const stop = new AbortController()
  let started = 0
  let seconds: number | undefined
  const generate = async (index: number): Promise<void> => {
    const tokens = promptOf(engine, shape.context, run * 1009 + index)
    const request = {
      id: `decode-${index}`,
      tokens,
      sampling: GREEDY,
      maxTokens,
      cacheSalt: unique(),
    }
    let n = 0
    let from = 0
    let last = false
    for await (const event of engine.generate({ ...request, stopTokens: new Set() }, stop.signal)) {
      if (event.type === "end") {
        if (event.reason !== "cancelled" && shape.concurrency > 1)
          throw new EngineError("a sequence ended before all of them had been measured together")
        break
      }
      n++
      if (n === 1) {
        from = performance.now()
        last = ++started === shape.concurrency
      }
      if (last && n === shape.tokens + 1) {
        seconds = (performance.now() - from) / 1000
        stop.abort()
      }
    }
  }
  await Promise.all(Array.from({ length: shape.concurrency }, (_, index) => generate(index)))
  if (seconds === undefined) throw new EngineError("the sequences ended before they were measured")
  return (shape.concurrency * shape.tokens) / seconds
}

/**
 * Tokens that one sequence may generate: the measured ones, and before them one in each step until the last prompt is computed. Beside
 * sequences that decode, a step computes a chunk of prompts; its size is the engine's, smaller late in a prompt (see `Scheduler`).
 */
function outputsOf(
  { config, batchTokens, chunkTokens }: StepShape,
  { concurrency, context, tokens }: DecodeShape,
): number {
  if (concurrency === 1) return tokens + 1
  const chunk = Math.max(smallestChunk(chunkTokens), Math.floor(chunkTokens / tokenCost(config)(context)))
  const free = batchTokens - (concurrency - 1)
  const nSteps = concurrency * Math.ceil(context / Math.min(chunk, free))
  // One block more than it generates: beside others, a sequence begins only where each of them can still grow by a block.
  return tokens + 1 + nSteps + BLOCK_SIZE
}

/** A cache salt for one run, so that no measured prompt comes from the prefix cache. */
const unique = (): string => crypto.randomUUID()

/** A prompt that differs for every run. */
function promptOf(engine: Engine, length: number, run: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => mix(run * 1_000_003 + i) % engine.limits.nVocab)
}

/** A 32-bit integer hash (the finalizer of MurmurHash3), for arbitrary but reproducible tokens. */
function mix(n: number): number {
  let h = n | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
