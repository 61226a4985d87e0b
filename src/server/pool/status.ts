import type { EngineStats } from "../../engine/types.ts"
import type { EntryState, PoolEntry } from "./entry.ts"

/** An entry's state, or `restarting` or `draining` when its engine reports that; see `EngineHealth`. */
export type ModelState = EntryState | "restarting" | "draining"

/** A model's state, for people and monitors. */
export interface ModelStatus {
  readonly id: string
  readonly arch: string
  readonly state: ModelState
  /** Why the model is not `ready`; `null` if the state says it all. */
  readonly reason: string | null
  /** The model can serve the next request, from memory or after a load. */
  readonly usable: boolean
  readonly loadedAt: Date | undefined
  readonly lastUsed: Date | undefined
  /** `undefined` while the model is not in memory. */
  readonly loaded: LoadedStatus | undefined
}

interface LoadedStatus {
  readonly device: { readonly backend: string; readonly name: string }
  readonly context_length: number
  readonly max_seqs: number
  /** Bytes. */
  readonly memory: { readonly weights: number; readonly cache: number }
  readonly stats: EngineStats
}

const USABLE: ReadonlySet<ModelState> = new Set(["ready", "unloaded", "unloading"])

export function statusOf(entry: PoolEntry): ModelStatus {
  const { spec, model, loadedAt, lastUsed } = entry
  const { state, reason } = stateOf(entry)
  return {
    id: spec.name,
    arch: spec.arch,
    state,
    reason,
    usable: USABLE.has(state) || (state === "loading" && model === undefined && entry.served),
    loadedAt,
    lastUsed,
    loaded: model && {
      device: { backend: model.device.backend, name: model.device.name },
      context_length: model.engine.limits.contextLength,
      max_seqs: model.engine.limits.maxSeqs,
      memory: model.memory,
      stats: model.engine.stats(),
    },
  }
}

const ENGINE_STATES = {
  starting: "loading",
  restarting: "restarting",
  draining: "draining",
  failed: "failed",
  closed: "failed",
} as const

function stateOf({ state, model, failure }: PoolEntry): { state: ModelState; reason: string | null } {
  if (model === undefined) return { state, reason: failure?.error.message ?? null }
  const health = model.engine.health()
  if (health.state === "ready") return { state, reason: null }
  return { state: ENGINE_STATES[health.state], reason: health.reason }
}
