/**
 * One table of cases, used twice: `bun test` checks each case against its float64 reference on every backend present (on GPUs the ops
 * that matrix units do once more for each of their number formats), and `tests/bench/kernels.ts` times the same cases.
 */

import { describe, test } from "bun:test"
import type { Compute } from "../../src/native/library.ts"
import type { OpName } from "../../src/native/ops.ts"
import type { StepResult } from "../../src/native/step-structs.ts"
import { type Backend, backendsPresent, describeBackends, type KernelRun, openProgram } from "./kernel-harness.ts"
import type { Program } from "./kernel-program.ts"
import type { StepSpec } from "./kernel-step.ts"

/** What a step of a case moves and computes at least, for GB/s and GFLOP/s. */
export interface Work {
  bytes: number
  flops: number
}

export interface PreparedCase {
  program: Program
  /** Whole buffers to fill before the step. */
  inputs?: readonly (readonly [buffer: number, values: Float32Array])[]
  /** Steps that must come before, such as the prefill of a cache. */
  prepare?: (run: KernelRun) => void
  step: (run: KernelRun) => StepSpec
  /** Compares what the step wrote with the reference; throws where they differ. */
  check: (run: KernelRun, results: StepResult[]) => void
  work?: Work
}

export interface KernelCase {
  /** Unique in its table; says what is special about the case. */
  name: string
  /** Sizes, as the bench prints them. */
  shape?: string
  format?: string
  /** Data, program and check, made only when the case runs. */
  make: () => PreparedCase
}

export interface CaseTable {
  title: string
  op: OpName
  cases: readonly KernelCase[]
}

/** The tables of every test file imported so far, in bench mode. */
export const benchTables: CaseTable[] = []

let benching = false

/** From here on tables are collected for the bench instead of being registered as tests. Call it before importing test files. */
export function collectForBench(): void {
  benching = true
}

/** Feeds and steps one case. */
export function runCase(run: KernelRun, prepared: PreparedCase): StepResult[] {
  prepared.prepare?.(run)
  for (const [buffer, values] of prepared.inputs ?? []) run.write(buffer, values)
  return run.step(prepared.step(run))
}

/** Registers a table: one test a case and backend, or rows of the bench. */
export function kernelCases(title: string, op: OpName, cases: readonly KernelCase[]): void {
  if (benching) {
    benchTables.push({ title, op, cases })
    return
  }
  onEveryBackend(title, (backend) => {
    for (const compute of computes(backend, op)) {
      for (const kernelCase of cases) {
        test(compute === "f32" ? kernelCase.name : `${kernelCase.name}, computed in ${compute}`, () => {
          const prepared = kernelCase.make()
          using run = openProgram(backend, prepared.program, compute)
          prepared.check(run, runCase(run, prepared))
        })
      }
    }
  })
}

/** The ways to multiply in which an op's cases run. */
export function computes(backend: Backend, op: OpName): readonly Compute[] {
  if (backend === "cpu") return ["f32"]
  if (op === "MATMUL" || op === "MATMUL_SWIGLU") return ["f32", "f16", "bf16"]
  return op === "ATTENTION" ? ["f32", "f16"] : ["f32"]
}

/** Shapes of real models, whose references would take too long for a test: timed only, their smaller siblings are checked. */
export function benchCases(title: string, op: OpName, cases: readonly KernelCase[]): void {
  if (benching) benchTables.push({ title, op, cases })
}

let present: readonly Backend[] | undefined

/** So that a run says itself on what it ran. */
function announce(): readonly Backend[] {
  console.log(`kernel suite on ${describeBackends()}`)
  return backendsPresent()
}

/** Tests that are no table of cases, on every backend; the bench ignores them. */
export function onEveryBackend(title: string, register: (backend: Backend) => void): void {
  if (benching) return
  present ??= announce()
  for (const backend of present) describe(`${title} [${backend}]`, () => register(backend))
}
