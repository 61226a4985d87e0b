import type { Dtype } from "../plan/ops.ts"
import type { Plan } from "../plan/plan.ts"

/** Bytes that one decode step reads. */
export interface DecodeTraffic {
  weights: number
  kv: number
}

/**
 * Every weight that an op of the plan multiplies by or adds, once; of an embedding table only looked up in, one row a sequence. K/V of
 * each sequence at the mean length while it grows from `context` by `tokens` tokens.
 */
export function decodeTraffic(
  plan: Plan,
  kvType: Dtype,
  { concurrency, context, tokens }: { concurrency: number; context: number; tokens: number },
): DecodeTraffic {
  const whole = new Set(plan.ops.filter((op) => op.kind !== "EMBED").flatMap((op) => op.weights.filter(isPresent)))
  const lookedUp = plan.ops.filter((op) => op.kind === "EMBED").flatMap((op) => op.weights.filter(isPresent))
  const rows = lookedUp.map((weight) => (concurrency * bytesOf(weight)) / weight.rows)
  const weights = sum([...whole].map(bytesOf)) + sum(rows)
  const meanLength = context + (tokens + 1) / 2
  return { weights, kv: concurrency * plan.cacheBytesPerToken(kvType) * meanLength }
}

type Weight = Plan["weights"][number]

const isPresent = <T>(value: T | undefined): value is T => value !== undefined
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const bytesOf = ({ source }: Weight): number => ("bytes" in source ? source.bytes.length : source.nBytes)
