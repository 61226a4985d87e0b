import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { PlanBuilder } from "../../../src/plan/builder.ts"
import { ARENA_ALIGNMENT, placeBuffers } from "../../../src/plan/memory.ts"

describe("liveness", () => {
  test("buffers that are live at different times share memory", () => {
    const p = new PlanBuilder()
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => p.buffer(name, "tokens", 16))
    if (!(a && b && c && d)) throw new Error("unreachable")
    const input = p.buffer("input", "tokens", 16, { pinned: true })
    p.scale(input, a, 1)
    p.scale(a, b, 1)
    p.scale(b, c, 1)
    p.scale(c, d, 1)
    const { offsets, arenaBytes } = p.finish().arena({ maxTokens: 1, maxOutputs: 1 })
    expect(arenaBytes).toBe(3 * 64)
    expect(offsets[a.id]).not.toBe(offsets[b.id])
    expect(offsets[b.id]).not.toBe(offsets[c.id])
    expect(new Set(offsets).size).toBe(3)
  })

  test("a buffer that each layer overwrites is free in between", () => {
    const p = new PlanBuilder()
    const x = p.buffer("x", "tokens", 64, { pinned: true })
    const h = p.buffer("h", "tokens", 64)
    const g = p.buffer("g", "tokens", 64)
    for (let i = 0; i < 3; i++) {
      p.scale(x, h, 1)
      p.scale(h, x, 1)
      p.scale(x, g, 1)
      p.scale(g, x, 1)
    }
    const { offsets } = p.finish().arena({ maxTokens: 1, maxOutputs: 1 })
    expect(offsets[h.id]).toBe(offsets[g.id])
  })

  test("a buffer that an op adds to is live before the op", () => {
    const p = new PlanBuilder()
    const w = p.constant("w", new Float32Array(64), 8)
    const x = p.buffer("x", "tokens", 8, { pinned: true })
    const sum = p.buffer("sum", "tokens", 8)
    const t = p.buffer("t", "tokens", 8)
    p.scale(x, sum, 1)
    p.scale(x, t, 1)
    p.matmulAdd(t, w, sum)
    const { offsets } = p.finish().arena({ maxTokens: 1, maxOutputs: 1 })
    expect(offsets[sum.id]).not.toBe(offsets[t.id])
  })

  test("reading a buffer that no op has written is refused", () => {
    const p = new PlanBuilder()
    const a = p.buffer("a", "tokens", 8)
    p.scale(a, p.buffer("b", "tokens", 8), 2)
    expect(() => p.finish()).toThrow('buffer "a" is read before any op writes it')
  })
})

describe("placement", () => {
  test("buffers that are live together never overlap, whatever their sizes", () => {
    const buffers = fc.array(
      fc.record({
        size: fc.integer({ min: 1, max: 5000 }),
        live: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }),
      }),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(buffers, (items) => {
        const live = items.map((item) => Uint8Array.from(item.live, Number))
        const { offsets, arenaBytes } = placeBuffers(
          items.map(({ size }) => size),
          live,
        )
        for (const [i, a] of items.entries()) {
          const start = offsets[i] ?? -1
          expect(start % ARENA_ALIGNMENT).toBe(0)
          expect(start + a.size).toBeLessThanOrEqual(arenaBytes)
          for (const [j, b] of items.entries()) {
            if (j <= i || !a.live.some((on, t) => on && b.live[t])) continue
            const other = offsets[j] ?? -1
            expect(start + a.size <= other || other + b.size <= start).toBe(true)
          }
        }
      }),
    )
  })
})
