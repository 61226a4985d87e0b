import { describe, expect, test } from "bun:test"
import { nextTurn } from "../../../../src/async.ts"
import { EngineError, OverloadedError } from "../../../../src/errors.ts"
import { Budget } from "../../../../src/server/pool/budget.ts"
import { BudgetError, ModelLoadError, UnknownModelError } from "../../../../src/server/pool/errors.ts"
import { ModelPool } from "../../../../src/server/pool/pool.ts"
import { statusOf } from "../../../../src/server/pool/status.ts"
import { FakeClock } from "../../../support/clock.ts"
import { seededRandom } from "../../../support/gguf-fixtures.ts"
import { FakeModels, gate, specs } from "./fake-models.ts"

const stateOf = (pool: ModelPool, name: string) => pool.get(name).state
const states = (pool: ModelPool) => pool.models.map(({ state }) => state)

/** Advances the clock, a millisecond at a time, until the work is done. */
async function turnUntil(clock: FakeClock, work: Promise<unknown>): Promise<void> {
  let isDone = false
  const done = work.finally(() => {
    isDone = true
  })
  done.catch(() => {})
  while (!isDone) await clock.advance(1)
  await done
}

/** Leases a model and releases it at once. */
async function use(pool: ModelPool, name: string): Promise<void> {
  using _ = await pool.lease(name)
}

describe("loading on demand", () => {
  test("a model goes from unloaded to loading to ready, with one load for concurrent leases", async () => {
    const fake = new FakeModels()
    const door = gate()
    fake.openGate = door.wait
    const pool = new ModelPool({ models: specs(["a", 10]), open: fake.open })
    expect(stateOf(pool, "a")).toBe("unloaded")
    const leases = [pool.lease("a"), pool.lease("a"), pool.lease("a")]
    await nextTurn()
    expect(stateOf(pool, "a")).toBe("loading")
    door.open()
    const models = (await Promise.all(leases)).map(({ model }) => model)
    expect(new Set(models).size).toBe(1)
    expect(fake.opened).toEqual(["a"])
    expect(stateOf(pool, "a")).toBe("ready")
    expect(pool.requests).toBe(3)
    await pool.close()
    expect(fake.closed).toEqual(["a"])
  })

  test("an unknown name is refused with the list of known names", async () => {
    const pool = new ModelPool({ models: specs(["a", 1], ["b", 1]), open: new FakeModels().open })
    await expect(pool.lease("c")).rejects.toThrow(UnknownModelError)
    await expect(pool.lease("c")).rejects.toThrow("'a', 'b'")
    expect(() => new ModelPool({ models: specs(["a", 1], ["a", 1]), open: new FakeModels().open })).toThrow("'a'")
  })

  test("a failed load is an error for every waiting request, and is retried only after a pause", async () => {
    const fake = new FakeModels()
    const door = gate()
    fake.openGate = door.wait
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 10]), open: fake.open, retryMs: 5000, clock })
    const waiting = [pool.lease("a"), pool.lease("a")]
    door.fail(new Error("the file is gone"))
    for (const lease of waiting) {
      const error = await lease.catch((thrown) => thrown)
      expect(error).toBeInstanceOf(ModelLoadError)
      expect(error.message).toContain("the file is gone")
    }
    expect(statusOf(pool.get("a"))).toMatchObject({ state: "failed", reason: "the file is gone", usable: false })
    expect(pool.requests).toBe(0)
    fake.openGate = () => Promise.resolve()
    await clock.advance(2500)
    expect(await pool.lease("a").catch((thrown) => thrown)).toMatchObject({ name: "ModelLoadError", retryAfter: 3 })
    await clock.advance(2499)
    await expect(pool.lease("a")).rejects.toThrow(ModelLoadError)
    expect(fake.opened).toEqual(["a"])
    await clock.advance(1)
    using lease = await pool.lease("a")
    expect(lease.model.name).toBe("a")
    expect(statusOf(pool.get("a"))).toMatchObject({ reason: null, loaded: expect.anything() })
  })

  test("load throws the opener's error", async () => {
    const fake = new FakeModels()
    const cause = new TypeError("broken header")
    fake.openGate = () => Promise.reject(cause)
    const pool = new ModelPool({ models: specs(["a", 10]), open: fake.open })
    expect(await pool.load("a").catch((thrown) => thrown)).toBe(cause)
  })

  test("a request that stops waiting for a load leaves at once, and the load continues", async () => {
    const fake = new FakeModels()
    const door = gate()
    fake.openGate = door.wait
    const pool = new ModelPool({ models: specs(["a", 10]), open: fake.open })
    const controller = new AbortController()
    const lease = pool.lease("a", { signal: controller.signal })
    await nextTurn()
    controller.abort()
    await expect(lease).rejects.toThrow(EngineError)
    expect(pool.requests).toBe(0)
    door.open()
    await nextTurn()
    expect(stateOf(pool, "a")).toBe("ready")
    await expect(pool.lease("a", { signal: controller.signal })).rejects.toThrow(EngineError)
    expect(pool.requests).toBe(0)
  })
})

describe("the memory budget", () => {
  test("makes room by unloading the least recently used idle model", async () => {
    const fake = new FakeModels()
    const pool = new ModelPool({ models: specs(["a", 40], ["b", 40], ["c", 40]), open: fake.open, budget: 100 })
    await use(pool, "a")
    await use(pool, "b")
    await use(pool, "a")
    await use(pool, "c")
    expect(fake.closed).toEqual(["b"])
    expect(states(pool)).toEqual(["ready", "unloaded", "ready"])
    await use(pool, "b")
    expect(fake.closed).toEqual(["b", "a"])
    expect(fake.peak).toBeLessThanOrEqual(100)
  })

  test("never unloads a model that a request holds or waits for", async () => {
    const fake = new FakeModels()
    const pool = new ModelPool({ models: specs(["a", 60], ["b", 60]), open: fake.open, budget: 100 })
    const held = await pool.lease("a")
    const refused = await pool.lease("b").catch((thrown) => thrown)
    expect(refused).toBeInstanceOf(OverloadedError)
    expect(refused).toMatchObject({ code: "unavailable" })
    expect(refused.retryAfter).toBeGreaterThanOrEqual(1)
    expect(refused.message).toContain("'a'")
    expect(states(pool)).toEqual(["ready", "unloaded"])
    expect(fake.closed).toEqual([])
    held[Symbol.dispose]()
    held[Symbol.dispose]() // a second release must not decrement the count again
    await use(pool, "b")
    expect(fake.closed).toEqual(["a"])
  })

  test("waits for models that are being unloaded", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({
      models: specs(["a", 60], ["b", 60]),
      open: fake.open,
      budget: 100,
      keepAliveMs: 0,
      clock,
    })
    const door = gate()
    fake.closeGate = door.wait
    await use(pool, "a")
    await clock.advance(0)
    expect(stateOf(pool, "a")).toBe("unloading")
    const lease = pool.lease("b")
    await nextTurn()
    expect(fake.opened).toEqual(["a"])
    door.open()
    using held = await lease
    expect(held.model.name).toBe("b")
    expect(fake.peak).toBe(60)
  })

  test("gives equal caches to as many models as fit side by side, in any order of loading", () => {
    const two = new Budget(100, specs(["a", 10], ["b", 30]))
    expect(two.share({ weights: 10, cache: 1000 })).toEqual({ need: 40, limit: 40 })
    expect(two.share({ weights: 30, cache: 5 })).toEqual({ need: 35, limit: 60 })
    // Of three models of 40 bytes, two fit with room for caches.
    const three = new Budget(100, specs(["a", 40], ["b", 40], ["c", 40]))
    expect(three.share({ weights: 40, cache: 50 })).toEqual({ need: 50, limit: 50 })
    const alone = new Budget(100, specs(["a", 90], ["b", 90]))
    expect(alone.share({ weights: 90, cache: 50 })).toEqual({ need: 100, limit: 100 })
    expect(new Budget(Number.POSITIVE_INFINITY, specs(["a", 9])).share({ weights: 9, cache: 9 })).toEqual({
      need: 0,
      limit: undefined,
    })
    expect(() => new Budget(50, specs(["a", 50]))).toThrow(BudgetError)
  })

  test("is kept under random requests, and every lease has its model in memory", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const sleep = (ms: number) => new Promise<void>((resolve) => void clock.setTimeout(resolve, ms))
    const random = seededRandom(1)
    fake.openGate = fake.closeGate = () => sleep(random() * 2)
    const names = ["a", "b", "c", "d", "e"]
    const models = specs(...names.map((name, i): [string, number, number] => [name, 10 + 7 * i, 20]))
    const pool = new ModelPool({ models, open: fake.open, budget: 100, keepAliveMs: 3, clock })
    const outcomes = { served: 0, refused: 0, left: 0 }
    const client = async () => {
      for (let i = 0; i < 60; i++) {
        const name = names[Math.floor(random() * names.length)] as string
        const controller = new AbortController()
        if (random() < 0.1) clock.setTimeout(() => controller.abort(), random() * 3)
        try {
          using lease = await pool.lease(name, { signal: controller.signal })
          await sleep(random() * 3)
          expect(stateOf(pool, name)).toBe("ready")
          expect(pool.get(name).model).toBe(lease.model)
          outcomes.served++
        } catch (error) {
          if (error instanceof OverloadedError) outcomes.refused++
          else if (error instanceof EngineError) outcomes.left++
          else throw error
          await sleep(1)
        }
      }
    }
    await turnUntil(clock, Promise.all(Array.from({ length: 8 }, client)))
    for (const count of Object.values(outcomes)) expect(count).toBeGreaterThan(0)
    expect(outcomes.served).toBeGreaterThan(100)
    expect(pool.requests).toBe(0)
    expect(fake.peak).toBeLessThanOrEqual(100)
    await turnUntil(clock, pool.close())
    expect(states(pool)).toEqual(names.map(() => "unloaded"))
    expect(fake.opened.length).toBe(fake.closed.length)
    expect(fake.opened.length).toBeGreaterThan(names.length)
    expect(fake.bytes).toBe(0)
  })
})

describe("a request's watch", () => {
  test.each(["a", "broken"])("is notified once of the lease on '%s' and once of its end", async (name) => {
    const fake = new FakeModels()
    fake.openGate = async (name) => {
      if (name === "broken") throw new Error("the file is gone")
    }
    const pool = new ModelPool({ models: specs(["a", 1], ["broken", 1]), open: fake.open })
    const told: string[] = []
    const watch = { onHold: (model: string) => told.push(`hold ${model}`), onRelease: () => told.push("release") }
    const lease = await pool.lease(name, { watch }).catch(() => undefined)
    if (lease !== undefined) expect(told).toEqual(["hold a"])
    lease?.[Symbol.dispose]()
    lease?.[Symbol.dispose]()
    expect(told).toEqual([`hold ${name}`, "release"])
  })
})

describe("keep-alive", () => {
  test("unloads a model after this time without a request", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, keepAliveMs: 60, clock })
    const lease = await pool.lease("a")
    await clock.advance(1000)
    expect(stateOf(pool, "a")).toBe("ready")
    lease[Symbol.dispose]()
    await clock.advance(59)
    await use(pool, "a")
    expect(clock.keepsAlive).toBe(false) // an idle model does not keep the process alive
    await clock.advance(59)
    expect(stateOf(pool, "a")).toBe("ready")
    await clock.advance(1)
    expect(stateOf(pool, "a")).toBe("unloaded")
    expect(statusOf(pool.get("a"))).toMatchObject({ usable: true, loaded: undefined })
    await use(pool, "a")
    expect(fake.opened.length).toBe(2)
  })

  test("a request that arrives while its model is being unloaded gets a new load of it", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, keepAliveMs: 0, clock })
    const first = await pool.lease("a")
    const { model } = first
    const door = gate()
    fake.closeGate = door.wait
    first[Symbol.dispose]()
    await clock.advance(0)
    expect(stateOf(pool, "a")).toBe("unloading")
    const second = pool.lease("a")
    await nextTurn()
    expect(fake.opened.length).toBe(1)
    door.open()
    using lease = await second
    expect(lease.model).not.toBe(model)
    await clock.advance(1000)
    expect(stateOf(pool, "a")).toBe("ready")
  })

  test("can be changed for a model until the model is unloaded", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1], ["b", 1]), open: fake.open, keepAliveMs: 10_000, clock })
    await use(pool, "a")
    await use(pool, "b")
    const a = pool.get("a")
    /** Milliseconds from the model's last use to its expiry. */
    const idleMs = () => (pool.expiry(a)?.getTime() ?? Number.POSITIVE_INFINITY) - (a.lastUsed?.getTime() ?? Number.NaN)
    expect(idleMs()).toBe(10_000)
    expect(clock.waits).toEqual([10_000, 10_000])
    pool.keepAlive(a, Number.POSITIVE_INFINITY)
    expect(idleMs()).toBe(Number.POSITIVE_INFINITY)
    expect(clock.waits).toEqual([10_000])
    const lease = await pool.lease("a")
    pool.keepAlive(a, 0)
    await clock.advance(100)
    expect(stateOf(pool, "a")).toBe("ready")
    lease[Symbol.dispose]()
    await clock.advance(0)
    expect(stateOf(pool, "a")).toBe("unloaded")
    expect(stateOf(pool, "b")).toBe("ready")
    await use(pool, "a")
    await clock.advance(100)
    expect(stateOf(pool, "a")).toBe("ready")
    expect(idleMs()).toBe(10_000)
    expect(clock.waits).toEqual([9800, 9900])
  })

  test("never expires if it is infinite or longer than a timer can wait", async () => {
    for (const keepAliveMs of [undefined, Number.POSITIVE_INFINITY, 1e12]) {
      const clock = new FakeClock()
      const pool = new ModelPool({
        models: specs(["a", 1]),
        open: new FakeModels().open,
        clock,
        ...(keepAliveMs && { keepAliveMs }),
      })
      await use(pool, "a")
      expect(clock.waits).toEqual([])
      expect(pool.expiry(pool.get("a"))).toBeUndefined()
      expect(stateOf(pool, "a")).toBe("ready")
    }
  })
})

describe("an engine that has failed for good", () => {
  test("is closed and loaded again after a pause", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, retryMs: 50, clock })
    await use(pool, "a")
    fake.health.set("a", { state: "failed", reason: "it could not be started again" })
    expect(statusOf(pool.get("a"))).toMatchObject({ state: "failed", usable: false })
    await expect(pool.lease("a")).rejects.toThrow("it could not be started again")
    await clock.advance(49)
    await expect(pool.lease("a")).rejects.toThrow("it could not be started again")
    expect(fake.opened.length).toBe(1)
    await clock.advance(1)
    await use(pool, "a")
    expect(fake.opened.length).toBe(2)
    expect(fake.closed.length).toBe(1)
    expect(statusOf(pool.get("a"))).toMatchObject({ state: "ready", usable: true })
  })
})

describe("shutdown", () => {
  test("draining refuses new requests and waits for running requests", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, clock })
    const lease = await pool.lease("a")
    let isDrained = false
    const drained = pool.drain(5000).finally(() => {
      isDrained = true
    })
    const refused = await pool.lease("a").catch((thrown) => thrown)
    expect(refused).toBeInstanceOf(OverloadedError)
    expect(refused.code).toBe("unavailable")
    await clock.advance(4999)
    expect(isDrained).toBe(false)
    lease[Symbol.dispose]()
    expect(await drained).toBe(0)
    expect(clock.waits).toEqual([])
  })

  test("requests that do not end in time are counted, and can be stopped with a reason", async () => {
    const fake = new FakeModels()
    const clock = new FakeClock()
    const pool = new ModelPool({ models: specs(["a", 1]), open: fake.open, clock })
    const lease = await pool.lease("a")
    const drained = pool.drain(10)
    await clock.advance(10)
    expect(await drained).toBe(1)
    pool.cancelAll()
    expect(lease.controller.signal.reason).toBeInstanceOf(OverloadedError)
    lease[Symbol.dispose]()
  })

  test("closing cancels a load in progress", async () => {
    const pool = new ModelPool({
      models: specs(["a", 1]),
      open: (_, { signal }) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(new EngineError("given up")))),
    })
    const lease = pool.lease("a").catch((thrown) => thrown)
    await nextTurn()
    await pool.close()
    expect(await lease).toBeInstanceOf(OverloadedError)
    expect(pool.requests).toBe(0)
  })

  test("closing waits for a load in progress and closes its model; models of others stay open", async () => {
    const fake = new FakeModels()
    const door = gate()
    fake.openGate = door.wait
    const pool = new ModelPool({ models: specs(["a", 1], ["b", 1]), open: fake.open })
    const leases = [pool.lease("a"), pool.lease("b")].map((lease) => lease.catch((thrown) => thrown))
    await nextTurn()
    const closed = pool.close()
    for (const lease of leases) expect(await lease).toBeInstanceOf(OverloadedError)
    door.open()
    await closed
    await pool.close()
    expect(fake.opened).toEqual(["a"])
    expect(fake.closed).toEqual(["a"])

    const own = new FakeModels()
    const model = await own.open(specs(["x", 1])[0] as never, {
      memoryLimit: undefined,
      signal: new AbortController().signal,
    })
    const borrowed = ModelPool.of([model])
    await use(borrowed, "x")
    await borrowed.close()
    expect(own.closed).toEqual([])
  })
})
