import { expect, test } from "bun:test"
import { FairShare } from "../../../src/engine/fair-share.ts"

test("a new owner starts at the smallest share of the active owners", () => {
  const fair = new FairShare()
  fair.enter("a")
  fair.charge("a", 100)
  fair.enter("b")
  expect(fair.served("b")).toBe(100)
  fair.charge("a", 50)
  fair.enter("c")
  expect(fair.served("c")).toBe(100)
})

test("a pause gives an owner no credit and cancels no debt", () => {
  const fair = new FairShare()
  for (const owner of ["a", "b"]) fair.enter(owner)
  fair.charge("a", 10)
  fair.leave("a")
  fair.charge("b", 500)
  fair.enter("a")
  expect(fair.served("a")).toBe(500)
  fair.charge("a", 1000)
  fair.leave("a")
  fair.enter("a")
  expect(fair.served("a")).toBe(1500)
})

test("shares are forgotten when the engine is idle", () => {
  const fair = new FairShare()
  fair.enter("a")
  fair.charge("a", 10)
  fair.leave("a")
  fair.enter("b")
  fair.enter("a")
  expect(fair.served("a")).toBe(0)
})

test("owners without requests use no memory", () => {
  const fair = new FairShare()
  fair.enter("here")
  for (let i = 0; i < 1000; i++) {
    fair.charge("here", 1)
    fair.enter(`guest ${i}`)
    fair.charge(`guest ${i}`, 1)
    fair.leave(`guest ${i}`)
  }
  expect(fair.nRemembered).toBeLessThan(100)
})
