import type { LoadedModel } from "../../../../src/engine/types.ts"
import { type EngineHealth, NO_STATS } from "../../../../src/engine/types.ts"
import type { ModelOpener, ModelSpec } from "../../../../src/server/pool/entry.ts"

/** Opens models without weights. A test controls when each load and each unload ends, and reads the memory in use. */
export class FakeModels {
  readonly opened: string[] = []
  readonly closed: string[] = []
  readonly health = new Map<string, EngineHealth>()
  /** The memory limit of each model's last load. */
  readonly limits = new Map<string, number | undefined>()
  /** Bytes of the models that are open or loading, and the largest value so far. */
  bytes = 0
  peak = 0
  /** Loads in progress. */
  loading = 0
  /** A load or unload ends when its promise settles. Default: at once. */
  openGate: (name: string) => Promise<void> = () => Promise.resolve()
  closeGate: (name: string) => Promise<void> = () => Promise.resolve()

  readonly open: ModelOpener = async (spec, { memoryLimit }) => {
    this.opened.push(spec.name)
    this.limits.set(spec.name, memoryLimit)
    const cache = Math.min(spec.cache, (memoryLimit ?? Number.POSITIVE_INFINITY) - spec.weights)
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

/** Models by name, with the sizes of weights and cache in bytes. */
export const specs = (...models: [name: string, weights: number, cache?: number][]): ModelSpec[] =>
  models.map(([name, weights, cache = 0]) => ({ name, path: `${name}.gguf`, arch: "fake", weights, cache }))

/** A promise that a test settles. */
export function gate(): { wait: () => Promise<void>; open: () => void; fail: (error: Error) => void } {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  promise.catch(() => {})
  return { wait: () => promise, open: resolve, fail: reject }
}
