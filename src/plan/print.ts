/** Prints a plan for people: one line per op, equal layers folded into one. */

import { bufferAccess, OP_FLAGS, OP_SPECS } from "../native/ops.ts"
import type { PlanBuffer, PlanOp, Rows, Weight } from "./operands.ts"
import type { Plan } from "./plan.ts"

/** The plan as text lines: buffers, caches, then the ops in order. */
export function printPlan(plan: Plan): string[] {
  const lines = ["buffers (f32)"]
  for (const { name, rows, width } of plan.buffers) lines.push(`  ${name.padEnd(10)} [${describeRows(rows)}, ${width}]`)
  const shapes = countBy(
    plan.caches.map(({ nKvHeads, headDim }) => `K and V [blocks, ${nKvHeads}, block_size, ${headDim}]`),
  )
  if (shapes.size > 0) lines.push("caches", ...[...shapes].map(([shape, count]) => `  ${count} × ${shape}`))
  lines.push(`ops (${plan.ops.length})`)

  let i = 0
  while (i < plan.ops.length) {
    if (plan.ops[i]?.layer === undefined) {
      lines.push(`  ${printOp(plan.ops[i] as PlanOp)}`)
      i++
      continue
    }
    const layers = new Map<number, string[]>()
    for (; plan.ops[i]?.layer !== undefined; i++) {
      const op = plan.ops[i] as PlanOp
      const layer = op.layer ?? 0
      const body = layers.get(layer) ?? []
      body.push(printOp(op, layer))
      layers.set(layer, body)
    }
    const folded = new Map<string, number[]>()
    for (const [layer, body] of layers) {
      const key = body.join("\n")
      folded.set(key, [...(folded.get(key) ?? []), layer])
    }
    for (const [body, members] of folded) {
      lines.push(`  layer N = ${ranges(members)} (× ${members.length})`)
      for (const line of body.split("\n")) lines.push(`    ${line}`)
    }
  }
  return lines
}

/** One op as `KIND  inputs → outputs  numbers`. Inside layer `layer` its number is written N. */
function printOp(op: PlanOp, layer?: number): string {
  const spec = OP_SPECS[op.kind]
  const name = (text: string) =>
    layer === undefined ? text : text.replace(`blk.${layer}.`, "blk.N.").replace(`kv.${layer}`, "kv.N")
  const inputs: string[] = []
  const outputs: string[] = []
  for (const [slot, buffer] of op.buffers.entries()) {
    const access = bufferAccess(op.kind, slot)
    if (access !== "out") inputs.push(describeBuffer(buffer))
    if (access !== "in") outputs.push(describeBuffer(buffer))
  }
  for (const weight of op.weights) if (weight) inputs.push(`${name(weight.name)} ${describeWeight(weight)}`)
  if (op.cache) (spec.cache === "write" ? outputs : inputs).push(name(op.cache.name))
  if (op.kind === "SAMPLE") outputs.push("results")
  const add = (op.flags & OP_FLAGS.add) !== 0
  const numbers = [
    ...numbered(spec.dims, op.dims),
    ...numbered(
      spec.params,
      op.params.map((value) => Number(value.toPrecision(6))),
    ),
    ...(spec.flags ?? []).filter((flag) => flag !== "add" && (op.flags & OP_FLAGS[flag]) !== 0),
  ]
  const head = `${op.kind.padEnd(14)} ${inputs.join(", ")}${inputs.length > 0 ? " " : ""}${add ? "+→" : "→"} ${outputs.join(", ")}`
  return numbers.length > 0 ? `${head}  (${numbers.join(", ")})` : head
}

/** `name value` for each operand that is used; a zero means "none" in every operand of the vocabulary. */
function numbered(names: readonly string[] = [], values: readonly number[] = []): string[] {
  return names.flatMap((name, i) => (values[i] ? [`${name} ${values[i]}`] : []))
}

function describeBuffer({ name, rows, width }: PlanBuffer): string {
  return `${name}[${describeRows(rows)}, ${width}]`
}

function describeWeight({ format, rows, cols }: Weight): string {
  return `${format.name}[${rows === 1 ? cols : `${rows}, ${cols}`}]`
}

function describeRows(rows: Rows): string {
  return typeof rows === "number" ? String(rows) : `n_${rows}`
}

function countBy(items: string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1)
  return counts
}

/** `0–3, 6, 8–9` for ascending numbers. */
function ranges(numbers: readonly number[]): string {
  const runs: [number, number][] = []
  for (const n of numbers) {
    const last = runs.at(-1)
    if (last && last[1] === n - 1) last[1] = n
    else runs.push([n, n])
  }
  return runs.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ")
}
