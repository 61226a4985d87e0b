/** Opens a kernel case on a backend, writes its inputs, runs steps, and reads its results. */

import { NativeError } from "../../src/native/errors.ts"
import {
  type Compute,
  libraryPath,
  loadNative,
  type NativeContext,
  type NativeLibrary,
  type NativeModel,
} from "../../src/native/library.ts"
import { readStepResult, STEP_RESULT_WORDS, type StepResult, Words } from "../../src/native/step-structs.ts"
import { TOLERANCE } from "./kernel-check.ts"
import { Random } from "./kernel-data.ts"
import { DEFAULT_LIMITS, type Limits, type Program, packed, packPlan, packWeights } from "./kernel-program.ts"
import { type PackedStep, packStep, type StepSpec } from "./kernel-step.ts"

export type Backend = Parameters<typeof loadNative>[0]

const BACKENDS: readonly Backend[] = ["cpu", "amd", "nvidia"]

/**
 * The backends that can run here: the CPU, and each GPU backend whose library is built and finds a device. A missing CPU library is
 * an error, never a skipped test. ROCMFORGE_TEST_BACKENDS ("nvidia", or "cpu,nvidia") selects exactly the backends it names.
 * @throws Error when a backend named there cannot run.
 */
export function backendsPresent(env: Record<string, string | undefined> = process.env): Backend[] {
  const named = env.ROCMFORGE_TEST_BACKENDS?.split(",").map((name) => name.trim()) ?? []
  for (const name of named) {
    const backend = BACKENDS.find((each) => each === name)
    const problem = backend ? absence(backend) : `the backends are ${BACKENDS.join(", ")}`
    if (problem) throw new Error(`ROCMFORGE_TEST_BACKENDS asks for "${name}": ${problem}`)
  }
  return BACKENDS.filter((backend) => (named.length > 0 ? named.includes(backend) : absence(backend) === undefined))
}

/** The reason why a backend cannot run here. @throws when its library exists but does not match its sources */
function absence(backend: Backend): string | undefined {
  if (backend === "cpu") return undefined
  try {
    libraryPath(backend)
  } catch (error) {
    if (error instanceof NativeError) return error.message
    throw error
  }
  return loadNative(backend).deviceCount() > 0 ? undefined : "its library finds no device"
}

/** The backends and their devices, for a report: "cpu (…), nvidia (…)". */
export function describeBackends(): string {
  return backendsPresent()
    .map((backend) => `${backend} (${loadNative(backend).deviceInfo(0).name})`)
    .join(", ")
}

/** Allowed difference from the float64 reference in each compute mode: f16 has 11 significant bits, bf16 has 8. */
const TOLERANCES: Record<Compute, number> = { f32: TOLERANCE, f16: 2e-3, bf16: 1.6e-2 }

export class KernelRun implements Disposable {
  readonly limits: Limits
  /** The tolerance of results that depend on the compute mode. */
  readonly tolerance: number
  readonly #buffers: Program["buffers"]
  readonly #model: NativeModel
  readonly #context: NativeContext
  readonly #freeBlocks: number[]

  constructor(
    readonly library: NativeLibrary,
    program: Program,
    compute: Compute = "f32",
  ) {
    this.tolerance = TOLERANCES[compute]
    this.limits = { ...DEFAULT_LIMITS, ...program.limits }
    this.#buffers = program.buffers
    this.#freeBlocks = new Random(7).shuffle(Array.from({ length: this.limits.nBlocks }, (_, i) => i))
    const { tensors, constants } = packWeights(program.weights ?? [])
    this.#model = library.openModel({ device: 0, paths: [], tensors: packed(tensors), constants })
    this.#context = this.#model.openContext({ ...this.limits, compute }, packPlan(program, this.limits))
  }

  /** Writes whole rows of a buffer, starting at `row`. */
  write(buffer: number, data: Float32Array | Float16Array, row = 0): void {
    this.#context.writeBuffer(buffer, row * this.#width(buffer) * data.BYTES_PER_ELEMENT, data)
  }

  /** The first `rows` rows of a float32 buffer. */
  read(buffer: number, rows: number): Float32Array {
    const out = new Float32Array(rows * this.#width(buffer))
    this.#context.readBuffer(buffer, 0, out)
    return out
  }

  step(spec: StepSpec): StepResult[] {
    return this.replay(packStep(spec))
  }

  /** Runs a packed step and reads the results of its outputs. */
  replay({ words, sections }: PackedStep): StepResult[] {
    const results = new Words(Math.max(1, sections.n_outputs) * STEP_RESULT_WORDS)
    this.#context.step(words.u32, words.length, results.u32)
    return Array.from({ length: sections.n_outputs }, (_, i) => readStepResult(results, i))
  }

  /** A block table for `tokens` tokens: shuffled ids that no other table of this run contains. */
  blocks(tokens: number): number[] {
    const table = this.#freeBlocks.splice(0, Math.ceil(tokens / this.limits.blockSize))
    if (table.length * this.limits.blockSize < tokens)
      throw new Error("the case needs more K/V blocks: raise limits.nBlocks")
    return table
  }

  /** A step of one new sequence with `rows` rows. */
  rows(rows: number): StepSpec {
    return { sequences: [{ rows, blocks: this.blocks(rows) }] }
  }

  [Symbol.dispose](): void {
    this.#context.close()
    this.#model.close()
  }

  #width(buffer: number): number {
    const spec = this.#buffers[buffer]
    if (!spec) throw new Error(`the program has no buffer ${buffer}`)
    return spec.width
  }
}

export function openProgram(backend: Backend, program: Program, compute: Compute = "f32"): KernelRun {
  return new KernelRun(loadNative(backend), program, compute)
}
