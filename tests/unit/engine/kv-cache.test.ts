import { expect, test } from "bun:test"
import fc from "fast-check"
import { BlockPool, type BlockTable, blocksFor } from "../../../src/engine/kv-cache.ts"

test("blocks hold sixteen tokens", () => {
  expect([0, 1, 16, 17, 32, 33].map(blocksFor)).toEqual([0, 1, 1, 2, 2, 3])
})

test("a table takes blocks as it grows, up to what was promised", () => {
  const pool = new BlockPool(4)
  const table = pool.admit(40) as BlockTable
  expect(pool.free).toBe(4)
  table.grow(17)
  expect(table.ids).toHaveLength(2)
  expect(pool.free).toBe(2)
  table.grow(16)
  expect(table.ids).toHaveLength(2)
  expect(() => table.grow(49)).toThrow("promised")
})

test("promises are kept: what is promised is not given to another", () => {
  const pool = new BlockPool(4)
  const table = pool.admit(48) as BlockTable
  expect(pool.admit(17)).toBeUndefined()
  expect(pool.admit(16)).toBeDefined()
  table.release()
  table.release()
  expect(pool.admit(48)).toBeDefined()
  expect(pool.admit(1)).toBeUndefined()
})

test("no block is ever lost or shared", () => {
  const action = fc.record({ admit: fc.integer({ min: 1, max: 200 }), grow: fc.nat(40), release: fc.nat(5) })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
      const pool = new BlockPool(24)
      const tables: { table: BlockTable; room: number; used: number }[] = []
      for (const { admit, grow, release } of actions) {
        const admitted = pool.admit(admit)
        if (admitted) tables.push({ table: admitted, room: admit, used: 0 })
        for (const entry of tables) {
          entry.used = Math.min(entry.room, entry.used + grow)
          entry.table.grow(entry.used)
        }
        const gone = tables.splice(release, 1)[0]
        gone?.table.release()
        const ids = tables.flatMap(({ table }) => table.ids)
        expect(new Set(ids).size).toBe(ids.length)
        expect(ids.length + pool.free).toBe(24)
      }
      for (const { table } of tables) table.release()
      expect(pool.free).toBe(24)
    }),
  )
})
