import { expect, test } from "bun:test"
import { FairShare } from "../../../src/engine/fair-share.ts"

test("an owner who comes late begins level with the one who got least", () => {
  const fair = new FairShare()
  fair.enter("a")
  fair.charge("a", 100)
  fair.enter("b")
  expect(fair.served("b")).toBe(100)
  fair.charge("a", 50)
  fair.enter("c")
  expect(fair.served("c")).toBe(100)
})

test("a pause earns nothing, and costs nothing", () => {
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

test("nothing is remembered of an engine that had nothing to do", () => {
  const fair = new FairShare()
  fair.enter("a")
  fair.charge("a", 10)
  fair.leave("a")
  fair.enter("b")
  fair.enter("a")
  expect(fair.served("a")).toBe(0)
})

test("owners who are gone take no memory", () => {
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
