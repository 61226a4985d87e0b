import type { LoadedModel } from "../../../../src/engine/types.ts"
import { type EngineHealth, NO_STATS } from "../../../../src/engine/types.ts"
import type { ModelOpener, ModelSpec } from "../../../../src/server/pool/entry.ts"

/**
 * Opens models that hold no weights, one step at a time: a test says when each load and each unload is over. Keeps count of what is
 * open, which must never be more than the budget.
 */
export class FakeModels {
  readonly opened: string[] = []
  readonly closed: string[] = []
  readonly health = new Map<string, EngineHealth>()
  /** The memory limit that each was opened with last. */
  readonly limits = new Map<string, number | undefined>()
  /** Bytes of the models that are open or being opened, and the most there ever were. */
  bytes = 0
  peak = 0
  /** Loads under way. */
  loading = 0
  /** Settled by the test; default: at once. */
  openGate: (name: string) => Promise<void> = () => Promise.resolve()
  closeGate: (name: string) => Promise<void> = () => Promise.resolve()

  readonly open: ModelOpener = async (spec, { memoryLimit: memory_limit }) => {
    this.opened.push(spec.name)
    this.limits.set(spec.name, memory_limit)
    const cache = Math.min(spec.cache, (memory_limit ?? Number.POSITIVE_INFINITY) - spec.weights)
    const bytes = spec.weights + cache
    this.loading++
    this.#take(bytes)
    try {
      await this.openGate(spec.name)
    } catch (error) {
      this.bytes -= bytes
      throw error
    } finally {
      this.loading--
    }
    this.health.set(spec.name, { state: "ready" })
    return this.#model(spec, cache)
  }

  #take(bytes: number): void {
    this.bytes += bytes
    this.peak = Math.max(this.peak, this.bytes)
  }

  #model({ name, path, arch, weights }: ModelSpec, cache: number): LoadedModel {
    const close = async () => {
      await this.closeGate(name)
      this.bytes -= weights + cache
      this.closed.push(name)
    }
    const engine = {
      health: () => this.health.get(name) ?? { state: "ready" },
      stats: () => NO_STATS,
      limits: { contextLength: 1, nVocab: 1, maxSeqs: 1 },
    }
    const device = { backend: "cpu", name: "none" }
    return { name, path, config: { arch }, memory: { weights, cache }, engine, device, close } as unknown as LoadedModel
  }
}

/** Specifications by name, weights and cache in bytes. */
export const specs = (...models: [name: string, weights: number, cache?: number][]): ModelSpec[] =>
  models.map(([name, weights, cache = 0]) => ({ name, path: `${name}.gguf`, arch: "fake", weights, cache }))

/** A gate that a test opens. */
export function gate(): { wait: () => Promise<void>; open: () => void; fail: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  return { wait: () => promise, open: resolve, fail: reject }
}

/** Lets everything that is due happen. */
export const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0))
