/**
 * Tables of cases with two users: `bun test` checks each case against its float64 reference on every available backend, and
 * `tests/bench/kernels.ts` times the same cases. On GPUs, ops that use the matrix units are also checked in f16 and in bf16.
 */

import { describe, test } from "bun:test"
import type { Compute } from "../../src/native/library.ts"
import type { OpName } from "../../src/native/ops.ts"
import type { StepResult } from "../../src/native/step-structs.ts"
import { type Backend, backendsPresent, describeBackends, type KernelRun, openProgram } from "./kernel-harness.ts"
import type { Program } from "./kernel-program.ts"
import type { StepSpec } from "./kernel-step.ts"

/** The least that a step of a case moves and computes, for GB/s and GFLOP/s. */
export interface Work {
  bytes: number
  flops: number
}

export interface PreparedCase {
  program: Program
  /** Buffers to fill completely before the step. */
  inputs?: readonly (readonly [buffer: number, values: Float32Array])[]
  /** Steps that must run first, such as the prefill of a cache. */
  prepare?: (run: KernelRun) => void
  step: (run: KernelRun) => StepSpec
  /** Compares the step's results with the reference. @throws when they differ */
  check: (run: KernelRun, results: StepResult[]) => void
  work?: Work
}

export interface KernelCase {
  /** Unique in its table; describes what is special about the case. */
  name: string
  /** Sizes, as the bench prints them. */
  shape?: string
  format?: string
  /** Creates data, program and check. Called only when the case runs. */
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

/** Makes `kernelCases` collect tables for the bench instead of registering tests. Call it before importing test files. */
export function collectForBench(): void {
  benching = true
}

/** Feeds and steps one case. */
export function runCase(run: KernelRun, prepared: PreparedCase): StepResult[] {
  prepared.prepare?.(run)
  for (const [buffer, values] of prepared.inputs ?? []) run.write(buffer, values)
  return run.step(prepared.step(run))
}

/** Registers a table: one test per case and backend, or rows of the bench. */
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

/** The compute modes in which an op's cases run. */
export function computes(backend: Backend, op: OpName): readonly Compute[] {
  if (backend === "cpu") return ["f32"]
  if (op === "MATMUL" || op === "MATMUL_SWIGLU") return ["f32", "f16", "bf16"]
  return op === "ATTENTION" ? ["f32", "f16"] : ["f32"]
}

/** Shapes of real models. Their references would take too long for a test, so they are only timed; smaller shapes are checked. */
export function benchCases(title: string, op: OpName, cases: readonly KernelCase[]): void {
  if (benching) benchTables.push({ title, op, cases })
}

let present: readonly Backend[] | undefined

/** Prints the backends, so that the output of a run shows where it ran. */
function announce(): readonly Backend[] {
  console.log(`kernel suite on ${describeBackends()}`)
  return backendsPresent()
}

/** Registers tests that are not a table of cases, on every backend. The bench ignores them. */
export function onEveryBackend(title: string, register: (backend: Backend) => void): void {
  if (benching) return
  present ??= announce()
  for (const backend of present) describe(`${title} [${backend}]`, () => register(backend))
}
