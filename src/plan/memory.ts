/** Liveness of activation buffers, and their places in one shared arena. */

import { type Access, bufferAccess, OP_FLAGS } from "../native/ops.ts"
import { type PlanBuffer, PlanError, type PlanOp } from "./operands.ts"

/** Buffers start at multiples of this many bytes: a cache line, and the widest vector. */
export const ARENA_ALIGNMENT = 64

/** How the op uses its buffer slot `slot`. With the flag `add` it adds to its output. */
function accessOf(op: PlanOp, slot: number): Access {
  const access = bufferAccess(op.kind, slot)
  return access === "out" && (op.flags & OP_FLAGS.add) !== 0 ? "update" : access
}

/**
 * Liveness of each buffer: `live[id][i]` is 1 when op `i` uses buffer `id`, or a later op reads what the buffer holds at op `i`. A buffer
 * is not live between its last read and the op that replaces it.
 * @throws PlanError when an op reads a buffer that no op has written and that is not pinned.
 */
export function liveness(ops: readonly PlanOp[], buffers: readonly PlanBuffer[]): Uint8Array[] {
  return buffers.map((buffer) => {
    const live = new Uint8Array(ops.length)
    if (buffer.pinned) return live.fill(1)
    let needed = false
    for (let i = ops.length - 1; i >= 0; i--) {
      const op = ops[i] as PlanOp
      const accesses = op.buffers.flatMap((used, slot) => (used === buffer ? [accessOf(op, slot)] : []))
      live[i] = needed || accesses.length > 0 ? 1 : 0
      if (accesses.some((access) => access !== "out")) needed = true
      else if (accesses.length > 0) needed = false
    }
    if (needed)
      throw new PlanError(`buffer "${buffer.name}" is read before any op writes it; write it first, or pin it`)
    return live
  })
}

export interface ArenaLayout {
  /** Bytes from the start of the arena, by buffer id; multiples of ARENA_ALIGNMENT. */
  offsets: number[]
  arenaBytes: number
}

/**
 * Places the buffers, largest first, each at the lowest offset where it does not overlap a buffer that is live at the same op.
 * @param sizes bytes, by buffer id.
 * @param live as returned by `liveness`.
 */
export function placeBuffers(sizes: readonly number[], live: readonly Uint8Array[]): ArenaLayout {
  const order = sizes.map((_, id) => id).sort((a, b) => (sizes[b] ?? 0) - (sizes[a] ?? 0) || a - b)
  const offsets = new Array<number>(sizes.length).fill(0)
  const placed: number[] = []
  let arenaBytes = 0
  for (const id of order) {
    const size = sizes[id] ?? 0
    const neighbours = placed
      .filter((other) => overlaps(live[id], live[other]))
      .sort((a, b) => (offsets[a] ?? 0) - (offsets[b] ?? 0))
    let offset = 0
    for (const other of neighbours) {
      const start = offsets[other] ?? 0
      if (start >= offset + size) break
      offset = Math.max(offset, alignUp(start + (sizes[other] ?? 0)))
    }
    offsets[id] = offset
    placed.push(id)
    arenaBytes = Math.max(arenaBytes, alignUp(offset + size))
  }
  return { offsets, arenaBytes }
}

function overlaps(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a?.some((value, i) => value === 1 && b?.[i] === 1) ?? false
}

function alignUp(value: number): number {
  return Math.ceil(value / ARENA_ALIGNMENT) * ARENA_ALIGNMENT
}
