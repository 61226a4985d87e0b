/** The numbers of the Mersenne Twister. */

import { expect, test } from "bun:test"
import { MersenneTwister } from "../../../src/engine/mersenne.ts"

test("the published outputs of the default seed: the first ones, and number 10,000", () => {
  const numbers = new MersenneTwister(5489n)
  // Out of order, since sequences ask again for a number after a preemption.
  expect(numbers.at(4999) >> 32n).toBe(4123659995n)
  expect(numbers.at(0)).toBe((581869302n << 32n) | 3499211612n)
  expect(numbers.at(1) & 0xffffffffn).toBe(3890346734n)
})

test("the low 32 bits of the seed count", () => {
  expect(new MersenneTwister((7n << 32n) | 42n).at(0)).toBe(new MersenneTwister(42n).at(0))
  expect(new MersenneTwister(43n).at(0)).not.toBe(new MersenneTwister(42n).at(0))
})
