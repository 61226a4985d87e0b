/** `keep_alive`: how long a model stays in memory after a request. */

import { invalidRequest } from "../../http/errors.ts"
import type { PoolEntry } from "../../pool/entry.ts"
import type { ModelPool } from "../../pool/pool.ts"

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** Seconds, or a duration in Go's form (`1h30m`), in milliseconds. Negative values mean forever. `undefined`: not a duration. */
export function parseKeepAlive(value: number | string): number | undefined {
  const ms = typeof value === "number" ? value * 1000 : durationMs(value.trim())
  if (ms === undefined || Number.isNaN(ms)) return undefined
  return ms < 0 ? Number.POSITIVE_INFINITY : ms
}

function durationMs(text: string): number | undefined {
  if (/^[+-]?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000
  const [, sign, parts = ""] = /^([+-]?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)$/.exec(text) ?? []
  if (sign === undefined) return undefined
  const sum = [...parts.matchAll(/([\d.]+)(\D+)/g)].reduce(
    (ms, [, amount, unit]) => ms + Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN),
    0,
  )
  return sign === "-" ? -sum : sum
}

/** Applies a request's `keep_alive`. @throws ApiError 400 for 0 with a model that the server always keeps in memory. */
export function applyKeepAlive(models: ModelPool, managed: PoolEntry, value: number | string | null | undefined) {
  const ms = value === undefined || value === null ? undefined : parseKeepAlive(value)
  if (ms === undefined) return
  if (ms === 0 && !managed.owned)
    throw invalidRequest(
      `'keep_alive': the server always keeps '${managed.name}' in memory; leave the field out.`,
      "keep_alive",
      "invalid_value",
    )
  models.keepAlive(managed, ms)
}
