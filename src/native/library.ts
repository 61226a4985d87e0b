/** The native library as objects that own their handles. Every method throws only NativeError and TypeError. */

import type { Pointer } from "bun:ffi"
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import {
  COMPUTE,
  MODEL_NO_MMAP,
  type PackedPlan,
  type PackedTensors,
  RF_CONTEXT_DESC,
  RF_CONTEXT_INFO,
  RF_DEVICE_INFO,
  RF_STEP_RESULT,
} from "./abi.ts"
import { NativeError } from "./errors.ts"
import { readNumber, readText, writeStruct } from "./struct.ts"
import { openSymbols, type Symbols, stablePointer } from "./symbols.ts"

export type Backend = "cpu" | "amd" | "nvidia"

interface DeviceInfo {
  name: string
  /** The instruction set in use (CPU), or the GPU's architecture. */
  arch: string
  /** Name and version of a GPU's driver. */
  driver: string
  /** Bytes. */
  memoryTotal: number
  memoryFree: number
  /** Compute units; on the CPU hardware threads that this process may use. */
  computeUnits: number
  /** Wave or warp size; on the CPU float lanes of a vector. */
  lanes: number
}

interface ModelFiles {
  device: number
  /** The GGUF files; RfTensor.file counts them from 0. */
  paths: readonly string[]
  tensors: PackedTensors
  /** Data of the tensors that lie in no file. */
  constants: Uint8Array
  /** Map the files (default), or read them. */
  mmap?: boolean
}

/** What matrix units multiply when a step has many rows; sums are float. */
export type Compute = keyof typeof COMPUTE

/** Bytes of weights that are on the device, and bytes in all; both 0 where weights stay in host memory. */
export interface UploadProgress {
  done: number
  total: number
}

interface ContextOptions {
  /** Threads that run the plan, the calling one included (CPU only). */
  nThreads: number
  /** The most rows, sequences and outputs of one step. */
  maxTokens: number
  maxSeqs: number
  maxOutputs: number
  /** Blocks of each K/V cache, and tokens a block. */
  nBlocks: number
  blockSize: number
  /** f32 by default; f16 and bf16 on GPUs only. */
  compute?: Compute
  /** A row's result is the same bits whatever else is in its step. On the CPU backend it always is. */
  deterministic?: boolean
}

interface ContextInfo {
  arenaBytes: number
  cacheBytes: number
  scratchBytes: number
  nThreads: number
}

const libraries = new Map<Backend, NativeLibrary>()

/**
 * The library of a backend, opened once per process: from the folder ROCMFORGE_LIBRARY_PATH if it is set, else from `build/`.
 * @throws NativeError `LIBRARY` when there is none, or when it was built from other sources.
 */
export function loadNative(backend: Backend): NativeLibrary {
  let library = libraries.get(backend)
  if (library === undefined) {
    library = new NativeLibrary(backend, libraryPath(backend))
    libraries.set(backend, library)
  }
  return library
}

/**
 * Path of a backend's library.
 * @throws NativeError `LIBRARY` naming the place that was searched.
 */
export function libraryPath(backend: Backend, env: Record<string, string | undefined> = process.env): string {
  const folder = env.ROCMFORGE_LIBRARY_PATH
  const path = join(folder ? resolve(folder) : join(import.meta.dir, "../../build"), `librocmforge-${backend}.so`)
  if (!existsSync(path)) throw new NativeError("LIBRARY", `there is no library for the ${backend} backend at ${path}`)
  return path
}

export class NativeLibrary {
  readonly #symbols: Symbols

  constructor(
    readonly backend: Backend,
    readonly path: string,
  ) {
    this.#symbols = openSymbols(path)
  }

  deviceCount(): number {
    const out = new Uint32Array(1)
    this.#symbols.rf_device_count(out)
    return out[0] ?? 0
  }

  deviceInfo(device: number): DeviceInfo {
    const view = new DataView(new ArrayBuffer(RF_DEVICE_INFO.size))
    this.#symbols.rf_device_info(device, view)
    return {
      name: readText(view, 0, RF_DEVICE_INFO, "name"),
      arch: readText(view, 0, RF_DEVICE_INFO, "arch"),
      driver: readText(view, 0, RF_DEVICE_INFO, "driver"),
      memoryTotal: readNumber(view, 0, RF_DEVICE_INFO, "memory_total"),
      memoryFree: readNumber(view, 0, RF_DEVICE_INFO, "memory_free"),
      computeUnits: readNumber(view, 0, RF_DEVICE_INFO, "n_compute_units"),
      lanes: readNumber(view, 0, RF_DEVICE_INFO, "lanes"),
    }
  }

  /** Maps or reads the files and checks every tensor against them. */
  openModel({ device, paths, tensors, constants, mmap = true }: ModelFiles): NativeModel {
    for (const path of paths) {
      if (path.includes("\0")) throw new NativeError("INVALID_ARGUMENT", `the path ${JSON.stringify(path)} holds a NUL`)
    }
    const names = new TextEncoder().encode(paths.map((path) => `${path}\0`).join(""))
    const handle = new BigUint64Array(1)
    this.#symbols.rf_model_open(
      device,
      mmap ? 0 : MODEL_NO_MMAP,
      names,
      names.length,
      paths.length,
      tensors.data,
      tensors.count,
      constants,
      constants.length,
      handle,
    )
    return new NativeModel(this.#symbols, handle[0] ?? 0n)
  }

  /**
   * Decodes weights of a GGUF format to floats, [nElems].
   * @param format ggml type number.
   * @param bytes whole blocks.
   */
  dequantize(format: number, bytes: Uint8Array, nElems: number): Float32Array {
    const out = new Float32Array(nElems)
    this.#symbols.rf_dequantize(format, bytes, bytes.length, out, nElems)
    return out
  }

  /**
   * The best rate, in bytes a second, of a device's memory over `nBytes`: of the CPU's when `nThreads` threads read them, of a GPU's
   * when it copies them (read and written bytes together).
   */
  readBandwidth(nThreads: number, nBytes: number, device = 0): number {
    const out = new Float64Array(1)
    this.#symbols.rf_read_bandwidth(device, nThreads, nBytes, out)
    return out[0] ?? 0
  }

  /**
   * The best rate of a GPU's matrix instructions on half floats, in operations a second (two for a multiply-add), with the operands in
   * registers.
   * @throws NativeError `UNSUPPORTED` on the CPU.
   */
  matrixRate(device = 0): number {
    const out = new Float64Array(1)
    this.#symbols.rf_matrix_rate(device, out)
    return out[0] ?? 0
  }
}

/** An open model: mapped files and checked tensors. Closing it closes its contexts first. */
export class NativeModel {
  readonly #symbols: Symbols
  #handle: bigint | undefined
  readonly #contexts = new Set<NativeContext>()

  /** Made by `NativeLibrary.openModel`. */
  constructor(symbols: Symbols, handle: bigint) {
    this.#symbols = symbols
    this.#handle = handle
  }

  /** Copies about `maxBytes` more of the weights to the device. Call it until `done` is `total`; `openContext` copies the rest. */
  upload(maxBytes: number): UploadProgress {
    if (this.#handle === undefined) throw new NativeError("INVALID_HANDLE", "the model is closed")
    const done = new BigUint64Array(1)
    const total = new BigUint64Array(1)
    this.#symbols.rf_model_upload(this.#handle, maxBytes, done, total)
    return { done: Number(done[0]), total: Number(total[0]) }
  }

  /** Validates the plan against the model once, and allocates the arena and the K/V caches. */
  openContext(options: ContextOptions, plan: PackedPlan): NativeContext {
    if (this.#handle === undefined) throw new NativeError("INVALID_HANDLE", "the model is closed")
    if (options.maxTokens > plan.maxTokens || options.maxOutputs > plan.maxOutputs) {
      throw new NativeError(
        "INVALID_ARGUMENT",
        `a context of ${options.maxTokens} tokens and ${options.maxOutputs} outputs does not fit a plan packed for ` +
          `${plan.maxTokens} and ${plan.maxOutputs}`,
        "pack the plan for the same limits",
      )
    }
    const desc = new DataView(new ArrayBuffer(RF_CONTEXT_DESC.size))
    writeStruct(desc, 0, RF_CONTEXT_DESC, {
      n_threads: options.nThreads,
      max_tokens: options.maxTokens,
      max_seqs: options.maxSeqs,
      max_outputs: options.maxOutputs,
      n_blocks: options.nBlocks,
      block_size: options.blockSize,
      arena_bytes: plan.arenaBytes,
      compute: COMPUTE[options.compute ?? "f32"],
      deterministic: options.deterministic ? 1 : 0,
    })
    const handle = new BigUint64Array(1)
    this.#symbols.rf_context_open(
      this.#handle,
      desc,
      plan.ops,
      plan.nOps,
      plan.buffers,
      plan.nBuffers,
      plan.caches,
      plan.nCaches,
      handle,
    )
    const context = new NativeContext(this.#symbols, handle[0] ?? 0n, () => this.#contexts.delete(context))
    this.#contexts.add(context)
    return context
  }

  /** Safe twice. */
  close(): void {
    if (this.#handle === undefined) return
    for (const context of [...this.#contexts]) context.close()
    const handle = this.#handle
    this.#handle = undefined
    this.#symbols.rf_model_close(handle)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

/** Memory that is passed at every step, with its address. */
interface Pinned {
  view: ArrayBufferView
  address: Pointer
}

/** A validated plan with its arena, caches and threads. One owner steps it. */
export class NativeContext {
  readonly #symbols: Symbols
  #handle: bigint | undefined
  readonly #onClose: () => void
  #step: Pinned | undefined
  #results: Pinned | undefined

  /** Made by `NativeModel.openContext`. */
  constructor(symbols: Symbols, handle: bigint, onClose: () => void) {
    this.#symbols = symbols
    this.#handle = handle
    this.#onClose = onClose
  }

  /**
   * Replays the plan once, on the calling thread until it is done.
   * @param step RfStepHeader and its sections; reuse one array, its address is kept.
   * @param nWords 32-bit words of `step` in use.
   * @param results room for one RfStepResult per output; reuse it too.
   */
  step(step: Uint32Array | Int32Array, nWords: number, results: ArrayBufferView): void {
    const handle = this.#open()
    if (nWords > step.length) throw new TypeError(`a step of ${nWords} words does not fit ${step.length}`)
    if (this.#step?.view !== step) this.#step = pin(step)
    if (this.#results?.view !== results) this.#results = pin(results)
    // A detached buffer has length 0, and its old address may be other memory by now.
    if (step.byteLength === 0 || results.byteLength === 0)
      throw new TypeError("step or results memory is empty or detached")
    const maxResults = Math.floor(results.byteLength / RF_STEP_RESULT.size)
    this.#symbols.rf_step(handle, this.#step.address, nWords, this.#results.address, maxResults)
  }

  /** Copies from an activation buffer, starting at byte `offset` of it, until `out` is full. Between steps only. */
  readBuffer(buffer: number, offset: number, out: ArrayBufferView): void {
    this.#symbols.rf_buffer_read(this.#open(), buffer, offset, out, out.byteLength)
  }

  /** Copies `data` into an activation buffer, starting at byte `offset` of it. Between steps only. */
  writeBuffer(buffer: number, offset: number, data: ArrayBufferView): void {
    this.#symbols.rf_buffer_write(this.#open(), buffer, offset, data, data.byteLength)
  }

  info(): ContextInfo {
    const view = new DataView(new ArrayBuffer(RF_CONTEXT_INFO.size))
    this.#symbols.rf_context_info(this.#open(), view)
    return {
      arenaBytes: readNumber(view, 0, RF_CONTEXT_INFO, "arena_bytes"),
      cacheBytes: readNumber(view, 0, RF_CONTEXT_INFO, "cache_bytes"),
      scratchBytes: readNumber(view, 0, RF_CONTEXT_INFO, "scratch_bytes"),
      nThreads: readNumber(view, 0, RF_CONTEXT_INFO, "n_threads"),
    }
  }

  /** Safe twice. */
  close(): void {
    if (this.#handle === undefined) return
    const handle = this.#handle
    this.#handle = undefined
    this.#step = undefined
    this.#results = undefined
    this.#onClose()
    this.#symbols.rf_context_close(handle)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #open(): bigint {
    if (this.#handle === undefined) throw new NativeError("INVALID_HANDLE", "the context is closed")
    return this.#handle
  }
}

function pin(view: ArrayBufferView): Pinned {
  if (view.byteOffset % 4 !== 0) throw new TypeError("step and results memory must be aligned to 4 bytes")
  return { view, address: stablePointer(view) }
}
