import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { BlockPool, BlockTable, blocksFor } from "../../../src/engine/blocks.ts"
import { blockKey } from "../../../src/engine/prefix-cache.ts"

test("a block holds sixteen tokens", () => {
  expect([0, 1, 16, 17, 32, 33].map(blocksFor)).toEqual([0, 1, 1, 2, 2, 3])
})

test("a table allocates blocks as it grows, or none if there are too few", () => {
  const pool = new BlockPool(4)
  const table = new BlockTable(pool)
  expect(table.grow(17)).toBe(true)
  expect(table.ids).toHaveLength(2)
  expect(table.grow(16)).toBe(true)
  expect(table.ids).toHaveLength(2)
  expect(new BlockTable(pool).grow(48)).toBe(false)
  expect(pool.nFree).toBe(2)
  table.release()
  table.release()
  expect(pool.nFree).toBe(4)
})

/** Block keys of a text in which each letter fills one block. */
const keysOf =
  (text: string, salt = "") =>
  (block: number): string =>
    blockKey((position) => text.charCodeAt(position >> 4), block, salt)

/** The block table of a sequence that has just computed a text. */
function filled(pool: BlockPool, text: string, salt = ""): BlockTable {
  const table = new BlockTable(pool)
  table.match(keysOf(text, salt), text.length)
  expect(table.grow(16 * text.length)).toBe(true)
  table.publish(keysOf(text, salt), 16 * text.length)
  return table
}

describe("full blocks", () => {
  test("are shared by texts with a common prefix, up to its end", () => {
    const pool = new BlockPool(8)
    const first = filled(pool, "abc")
    const second = filled(pool, "abd")
    expect(second.ids.slice(0, 2)).toEqual(first.ids.slice(0, 2))
    expect(second.ids[2]).not.toBe(first.ids[2])
    expect(filled(pool, "bc").ids.some((id) => first.ids.includes(id))).toBe(false)
    expect(pool.nFree).toBe(2)
  })

  test("stay cached after their sequence until the memory is needed; the oldest are evicted first, and ends before beginnings", () => {
    const pool = new BlockPool(4)
    filled(pool, "ab").release()
    filled(pool, "cd").release()
    expect(pool.nFree).toBe(4)
    expect(filled(pool, "ab").ids).toHaveLength(2)
    const other = new BlockTable(pool)
    expect(other.grow(16)).toBe(true) // evicts the block of d
    const again = new BlockTable(pool)
    again.match(keysOf("cd"), 2)
    expect(again.nShared).toBe(16)
  })

  test("are found only with their salt", () => {
    const pool = new BlockPool(8)
    filled(pool, "ab", "mine").release()
    const other = new BlockTable(pool)
    other.match(keysOf("ab"), 2)
    expect(other.ids).toEqual([])
    other.match(keysOf("ab", "mine"), 2)
    expect(other.nShared).toBe(32)
  })

  test("that two sequences filled at the same time are merged", () => {
    const pool = new BlockPool(8)
    const [first, second] = [new BlockTable(pool), new BlockTable(pool)]
    for (const table of [first, second]) table.grow(40)
    for (const table of [first, second]) table.publish(keysOf("abc"), 40)
    expect(second.ids.slice(0, 2)).toEqual(first.ids.slice(0, 2))
    expect(second.ids[2]).not.toBe(first.ids[2])
    expect(pool.nFree).toBe(4)
  })

  test("are freed at once without a prefix cache, but shared while in use", () => {
    const pool = new BlockPool(4, false)
    const first = filled(pool, "ab")
    const second = filled(pool, "ab")
    expect(second.ids).toEqual(first.ids)
    first.release()
    expect(pool.nFree).toBe(2)
    second.release()
    expect(pool.nFree).toBe(4)
    second.match(keysOf("ab"), 2)
    expect(second.ids).toEqual([])
  })

  test("that are removed from the cache are not found again", () => {
    const pool = new BlockPool(8)
    const broken = filled(pool, "abc")
    broken.invalidate()
    const next = new BlockTable(pool)
    next.match(keysOf("abc"), 3)
    expect(next.ids).toEqual([])
    broken.release()
    expect(pool.nFree).toBe(8)
    expect(next.grow(128)).toBe(true)
  })
})

test("keys distinguish tokens beyond sixteen bits", () => {
  const key = (token: number) => blockKey(() => token, 1, "")
  expect(new Set([1, 0x10001, 0x20001].map(key)).size).toBe(3)
})

test("no block is ever lost, or found for another text", () => {
  const action = fc.record({ text: fc.stringMatching(/^[ab]{1,6}$/), release: fc.nat(5) })
  fc.assert(
    fc.property(fc.array(action, { maxLength: 200 }), fc.boolean(), (actions, keep) => {
      const pool = new BlockPool(24, keep)
      const held: { table: BlockTable; text: string }[] = []
      const beginnings = new Map<number, string>()
      for (const { text, release } of actions) {
        const table = new BlockTable(pool)
        table.match(keysOf(text), text.length)
        for (const [i, id] of table.ids.entries()) expect(beginnings.get(id)).toBe(text.slice(0, i + 1))
        if (table.grow(16 * text.length)) {
          table.publish(keysOf(text), 16 * text.length)
          for (const [i, id] of table.ids.entries()) beginnings.set(id, text.slice(0, i + 1))
          held.push({ table, text })
        } else table.release()
        for (const { table, text } of held)
          for (const [i, id] of table.ids.entries()) expect(beginnings.get(id)).toBe(text.slice(0, i + 1))
        held.splice(release, 1)[0]?.table.release()
        expect(new Set(held.flatMap(({ table }) => table.ids)).size + pool.nFree).toBe(24)
      }
      for (const { table } of held) table.release()
      expect(pool.nFree).toBe(24)
      expect(new BlockTable(pool).grow(24 * 16)).toBe(true)
    }),
  )
})
