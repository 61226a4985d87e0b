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

/**
 * Operations (two a multiply-add) for each token of a prompt: the matrix products of every row, and attention over half of the prompt.
 * What only the last row does, the output matrix, does not count.
 */
export function prefillOperations(
  plan: Plan,
  { nHeads, headDim }: { nHeads: number; headDim: number },
  tokens: number,
): number {
  const products = plan.ops.filter(
    ({ kind, buffers }) => (kind === "MATMUL" || kind === "MATMUL_SWIGLU") && buffers[0]?.rows === "tokens",
  )
  // Biases are matrices of one row.
  const matrices = products.flatMap(({ weights }) => weights.filter(isPresent).filter(({ rows }) => rows > 1))
  const attentions = plan.ops.filter(({ kind }) => kind === "ATTENTION").length
  return 2 * sum(matrices.map(({ rows, cols }) => rows * cols)) + attentions * 2 * tokens * nHeads * headDim
}

type Weight = Plan["weights"][number]

const isPresent = <T>(value: T | undefined): value is T => value !== undefined
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
const bytesOf = ({ source }: Weight): number => ("bytes" in source ? source.bytes.length : source.nBytes)
