/** Which models a pool keeps in memory: a limit on their number, and loading on request alone. */

import { describe, expect, test } from "bun:test"
import { nextTurn } from "../../../../src/async.ts"
import { EngineError, OverloadedError } from "../../../../src/errors.ts"
import { ModelPool } from "../../../../src/server/pool/pool.ts"
import { FakeModels, specs } from "./fake-models.ts"

const states = (pool: ModelPool) => pool.models.map(({ state }) => state)

/** Leases a model and releases it at once. */
async function use(pool: ModelPool, name: string): Promise<void> {
  using _ = await pool.lease(name)
}

describe("a limit on the number of models", () => {
  const three = () => {
    const fake = new FakeModels()
    return { fake, models: specs(["a", 1], ["b", 1], ["c", 1]) }
  }

  test("the least recently used idle model makes room, also among models that no request has used", async () => {
    const { fake, models } = three()
    await using pool = new ModelPool({ models, open: fake.open, maxModels: 2 })
    await pool.load("b")
    await pool.load("a")
    await pool.load("c")
    expect(states(pool)).toEqual(["ready", "unloaded", "ready"])
    await use(pool, "a")
    await use(pool, "b")
    expect(states(pool)).toEqual(["ready", "ready", "unloaded"])
  })

  test("a request waits for a busy model, in the order of arrival", async () => {
    const { fake, models } = three()
    await using pool = new ModelPool({ models, open: fake.open, maxModels: 1 })
    const busy = await pool.lease("a")
    const order: string[] = []
    const waiting = ["b", "c"].map(async (name) => {
      using lease = await pool.lease(name)
      order.push(lease.model.name)
    })
    await nextTurn()
    expect(states(pool)).toEqual(["ready", "loading", "loading"])
    expect(fake.closed).toEqual([])
    busy[Symbol.dispose]()
    await Promise.all(waiting)
    expect(order).toEqual(["b", "c"])
    expect(fake.closed).toEqual(["a", "b"])
  })

  test("a request that leaves while it waits costs no model its place; a load that nobody waits for is refused", async () => {
    const { fake, models } = three()
    await using pool = new ModelPool({ models, open: fake.open, maxModels: 1 })
    const busy = await pool.lease("a")
    await expect(pool.load("c")).rejects.toThrow(OverloadedError)
    const client = new AbortController()
    const left = pool.lease("b", { signal: client.signal })
    await nextTurn()
    client.abort()
    await expect(left).rejects.toThrow(EngineError)
    await nextTurn()
    busy[Symbol.dispose]()
    await nextTurn()
    expect(states(pool)).toEqual(["ready", "unloaded", "unloaded"])
  })
})

test("without autoload, requests use loaded models alone", async () => {
  const fake = new FakeModels()
  await using pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, autoload: false })
  await expect(pool.lease("a")).rejects.toThrow("POST /models/load")
  expect(fake.opened).toEqual([])
  await pool.load("a")
  await use(pool, "a")
})
