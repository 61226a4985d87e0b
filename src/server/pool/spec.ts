import type { LoadedModel } from "../../engine/types.ts"

/** A model that can be served, known from its file's header alone. */
export interface ModelSpec {
  /** What requests call it. */
  readonly name: string
  /** Its file. */
  readonly path: string
  readonly arch: string
  /** Bytes of its weights. */
  readonly weights: number
  /** Bytes of the K/V cache it would like: every request that runs together with a full context. */
  readonly cache: number
}

export interface OpenLimits {
  /** Bytes that weights and K/V cache may take together; `undefined`: what the device has. */
  readonly memoryLimit: number | undefined
  /** Fires when the model is not wanted any more before it is loaded: the server ends. */
  readonly signal: AbortSignal
}

/** Brings a model into memory, in this process or another. Whoever opened it closes it. */
export type ModelOpener = (spec: ModelSpec, limits: OpenLimits) => Promise<LoadedModel>
