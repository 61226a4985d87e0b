/** What a step has to do, counted from the plan: bytes that a decode step reads, and operations that a prompt takes. */

import type { ModelDefinition } from "../models/registry.ts"
import { DTYPE_BYTES, type Dtype } from "../native/ops.ts"
import type { Plan } from "../plan/plan.ts"

/** Bytes that one decode step reads. */
export interface DecodeTraffic {
  weights: number
  kv: number
}

type CountedModel = Pick<ModelDefinition, "plan" | "config">

/**
 * Each weight that an op multiplies by or adds counts once; an embedding table counts one row a sequence. K/V of each sequence counts
 * at its mean length while the sequence grows from `context` by `tokens` tokens, in each layer up to its window.
 */
export function decodeTraffic(
  { plan, config }: CountedModel,
  kvType: Dtype,
  { concurrency, context, tokens }: { concurrency: number; context: number; tokens: number },
): DecodeTraffic {
  const whole = new Set(plan.ops.filter((op) => op.kind !== "EMBED").flatMap((op) => op.weights.filter(isPresent)))
  const lookedUp = plan.ops.filter((op) => op.kind === "EMBED").flatMap((op) => op.weights.filter(isPresent))
  const rows = lookedUp.map((weight) => (concurrency * bytesOf(weight)) / weight.rows)
  const weights = sum([...whole].map(bytesOf)) + sum(rows)
  const cached = config.layers.map(({ nKvHeads, headDim, valueDim, window }) => {
    return nKvHeads * (headDim + valueDim) * DTYPE_BYTES[kvType] * meanSeen(context, tokens, window)
  })
  return { weights, kv: concurrency * sum(cached) }
}

/**
 * Operations (two a multiply-add) for each token of a prompt: the matrix products of every row, and in each layer attention over what a
 * row sees of the prompt. The output matrix does not count, since only the last row is multiplied by it.
 */
export function prefillOperations({ plan, config }: CountedModel, tokens: number): number {
  const products = plan.ops.filter(
    ({ kind, buffers }) => (kind === "MATMUL" || kind === "MATMUL_SWIGLU") && buffers[0]?.rows === "tokens",
  )
  // Biases are matrices of one row.
  const matrices = products.flatMap(({ weights }) => weights.filter(isPresent).filter(({ rows }) => rows > 1))
  const attention = config.layers.map(({ nHeads, headDim, valueDim, window }) => {
    return nHeads * (headDim + valueDim) * meanSeen(0, tokens, window)
  })
  return 2 * (sum(matrices.map(({ rows, cols }) => rows * cols)) + sum(attention))
}

/** Keys that a query sees, on average over the positions `context` … `context + tokens - 1`. @param window 0 for no window. */
function meanSeen(context: number, tokens: number, window: number): number {
  if (window === 0 || context + tokens <= window) return context + (tokens + 1) / 2
  const seen = Array.from({ length: tokens }, (_, i) => Math.min(context + i + 1, window))
  return sum(seen) / tokens
}

type Weight = Plan["weights"][number]

const isPresent = <T>(value: T | undefined): value is T => value !== undefined
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const bytesOf = ({ source }: Weight): number => ("bytes" in source ? source.bytes.length : source.nBytes)
