/** Checks of an op's operands for the builder. Each throws a PlanError that names the op and the operand at fault. */

import type { OpName } from "../native/ops.ts"
import { type HeadShape, type PlanBuffer, PlanError, type Rope, type Weight } from "./operands.ts"

export function expect(condition: boolean, op: OpName, problem: string): void {
  if (!condition) throw new PlanError(`${op}: ${problem}`)
}

export function positive(what: string, sizes: Record<string, number>): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (!(Number.isInteger(size) && size > 0 && size < 2 ** 31))
      throw new PlanError(`${what}: ${name} is ${size}, and must be an integer of 1 … 2^31 - 1`)
  }
}

export function expectWidth(op: OpName, buffer: PlanBuffer, width: number): void {
  expect(buffer.width === width, op, `"${buffer.name}" is ${buffer.width} wide, and must be ${width}`)
}

export function expectSameRows(op: OpName, a: PlanBuffer, b: PlanBuffer): void {
  expect(a.rows === b.rows, op, `"${a.name}" has ${a.rows} rows and "${b.name}" ${b.rows}; they must have the same`)
}

export function expectSameShape(op: OpName, a: PlanBuffer, b: PlanBuffer): void {
  expectSameRows(op, a, b)
  expectWidth(op, b, a.width)
}

export function expectApart(op: OpName, a: PlanBuffer, out: PlanBuffer): void {
  expect(a !== out, op, `it cannot write to its input "${a.name}"`)
}

export function expectVector(op: OpName, weight: Weight, length: number): void {
  const { name, rows, cols, format } = weight
  const fits = rows === 1 && cols === length && format.name === "F32"
  expect(fits, op, `"${name}" is ${format.name} [${rows}, ${cols}], and must be F32 [1, ${length}]`)
}

/** Checks that the weight's rows are as long as the buffer's. */
export function expectInput(op: OpName, x: PlanBuffer, w: Weight): void {
  expect(
    w.cols === x.width,
    op,
    `"${w.name}" [${w.rows}, ${w.cols}] does not take "${x.name}", which is ${x.width} wide`,
  )
}

export function expectHeads(op: OpName, { nHeads, nKvHeads, headDim }: HeadShape): void {
  const fits = nHeads > 0 && nKvHeads > 0 && headDim > 0 && nHeads % nKvHeads === 0
  expect(fits, op, `${nHeads} heads of ${headDim} do not share ${nKvHeads} K/V heads evenly`)
}

export function expectRope(op: OpName, x: PlanBuffer, rope: Rope, headDim: number): void {
  expect(
    rope.dim <= headDim && rope.dim % 2 === 0,
    op,
    `it cannot rotate ${rope.dim} dimensions of heads of ${headDim}`,
  )
  expectSameRows(op, x, rope.table)
}
