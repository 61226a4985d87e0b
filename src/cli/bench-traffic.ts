import type { Dtype } from "../plan/ops.ts"
import type { Plan } from "../plan/plan.ts"

/** Bytes that decoding one token reads. */
export interface DecodeTraffic {
  weights: number
  kv: number
}

/**
 * Every weight that an op of the plan multiplies by or adds, once; of an embedding table only looked up in, one row. K/V at the
 * mean length of a sequence that grows from 1 to 1 + nGenerate tokens.
 */
export function decodeTraffic(plan: Plan, kvType: Dtype, nGenerate: number): DecodeTraffic {
  const whole = new Set(plan.ops.filter((op) => op.kind !== "EMBED").flatMap((op) => op.weights.filter(isPresent)))
  const lookedUp = plan.ops.filter((op) => op.kind === "EMBED").flatMap((op) => op.weights.filter(isPresent))
  const rows = lookedUp.map((weight) => bytesOf(weight) / weight.rows)
  const weights = sum([...whole].map(bytesOf)) + sum(rows)
  const meanLength = 1 + (nGenerate + 1) / 2
  return { weights, kv: plan.cacheBytesPerToken(kvType) * meanLength }
}

type Weight = Plan["weights"][number]

const isPresent = <T>(value: T | undefined): value is T => value !== undefined
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const bytesOf = ({ source }: Weight): number => ("bytes" in source ? source.bytes.length : source.nBytes)
