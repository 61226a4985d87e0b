import { type Engine, GREEDY, type LoadedModel, type Usage } from "../engine/types.ts"
import { EngineError } from "../errors.ts"
import { buildModel } from "../models/registry.ts"
import type { Dtype } from "../native/ops.ts"
import { type DecodeTraffic, decodeTraffic, prefillOperations } from "./bench-traffic.ts"
import { type Spread, spread } from "./statistics.ts"

/** Sequences that decode together, the tokens that each holds before, and those that each generates while the clock runs. */
export interface DecodeShape {
  concurrency: number
  context: number
  tokens: number
}

export interface PrefillResult {
  tokens: number
  tokens_per_second: Spread
  /** Of the matrix rate measured in the same run: the plan's matrix products and attention, two operations a multiply-add. */
  matrix_share: number | null
}

export interface DecodeResult extends DecodeShape {
  /** Of all sequences together. */
  tokens_per_second: Spread
  bytes_per_step: DecodeTraffic
  bytes_per_second: number
  /** Of the memory bandwidth measured in the same run. */
  bandwidth_share: number
}

export interface BenchResult {
  model: string
  device: { backend: string; name: string }
  threads: number
  /** Bytes a second: read by the CPU's threads, or copied by the GPU. */
  bandwidth: number
  /** Operations a second of a GPU's matrix instructions on half floats, operands in registers. */
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

/** Tokens of context that a request of the plan needs. */
export function contextNeeded({ prompts, decodes }: Pick<BenchPlan, "prompts" | "decodes">): number {
  return Math.max(...prompts.map((tokens) => tokens + 1), ...decodes.map((shape) => shape.context + outputsOf(shape)))
}

/** Medians of several measurements, each after one warm-up. */
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
    const rate = await measure(plan.repetitions, (run) => decodeRate(engine, shape, run))
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

/** One warm-up, then `repetitions` measurements. */
async function measure(repetitions: number, once: (run: number) => Promise<number>): Promise<Spread> {
  const rates: number[] = []
  for (let run = 0; run <= repetitions; run++) {
    const rate = await once(run)
    if (run > 0) rates.push(rate)
  }
  return spread(rates)
}

/** Prompt tokens a second, up to the first token of the answer. */
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
  if (!usage) throw new EngineError("the engine ended the request without saying why")
  return (1000 * tokens) / usage.prefillMs
}

/**
 * Tokens a second of all sequences together. The clock runs while the sequence that was last to get its first token generates the rest:
 * from there on every step gives every sequence a token. Those that began before it generate more, until the clock stops.
 */
async function decodeRate(engine: Engine, shape: DecodeShape, run: number): Promise<number> {
  const stop = new AbortController()
  let started = 0
  let seconds: number | undefined
  const generate = async (index: number): Promise<void> => {
    const tokens = promptOf(engine, shape.context, run * 1009 + index)
    const request = {
      id: `decode-${index}`,
      tokens,
      sampling: GREEDY,
      maxTokens: outputsOf(shape),
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

/** Room for the tokens that the first sequences generate while the last ones still read their prompts, some in every step. */
function outputsOf({ concurrency, context, tokens }: DecodeShape): number {
  return tokens + 1 + (concurrency > 1 ? concurrency + Math.ceil((concurrency * context) / 64) : 0)
}

/** No other run finds this one's blocks: a measured prompt is a computed one. */
const unique = (): string => crypto.randomUUID()

/** Other tokens for every run. */
function promptOf(engine: Engine, length: number, run: number): Int32Array {
  return Int32Array.from({ length }, (_, i) => mix(run * 1_000_003 + i) % engine.limits.nVocab)
}

/** A 32-bit integer hash (the finalizer of MurmurHash3), for tokens that are arbitrary but always the same. */
function mix(n: number): number {
  let h = n | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
