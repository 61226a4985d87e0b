import type { EngineStats } from "../../engine/types.ts"
import type { EntryState, PoolEntry } from "./entry.ts"

/** `restarting` and `draining` are an engine's; see `EngineHealth`. */
export type ModelState = EntryState | "restarting" | "draining"

/** How a model is doing, for people and monitors. */
export interface ModelStatus {
  readonly id: string
  readonly arch: string
  readonly state: ModelState
  /** Why it is not `ready`, where there is more to say than the state does. */
  readonly reason: string | null
  /** It serves a request now, or is brought back into memory for one. */
  readonly usable: boolean
  readonly loadedAt: Date | undefined
  readonly lastUsed: Date | undefined
  /** What is known while it is in memory. */
  readonly loaded: LoadedStatus | undefined
}

export interface LoadedStatus {
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
