/** The default model's answer must not depend on the chunks of its prompt or on other requests. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { loadModel } from "../../src/engine/load.ts"
import type { LoadedModel } from "../../src/engine/types.ts"
import { GREEDY, type SamplingParams } from "../../src/engine/types.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { type RealGolden, readRealGolden } from "../support/real-golden.ts"
import { PlanRunner, type Run } from "../support/run-plan.ts"

const N_TOKENS = 65
const TIME = 120_000

let golden: RealGolden
let path: string
let model: LoadedModel

beforeAll(async () => {
  golden = await readRealGolden()
  path = await resolveModel("smollm2-135m")
  model = await loadModel(path, { device: "cpu", threads: 2, ctxSize: 2048, maxSeqs: 4 })
}, 300_000)

afterAll(() => model?.close())

async function generate(prompt: readonly number[], sampling: SamplingParams, maxTokens: number, id: string) {
  const tokens: number[] = []
  const request = { id, tokens: Int32Array.from(prompt), sampling, maxTokens, stopTokens: new Set<number>() }
  for await (const event of model.engine.generate(request)) if (event.type === "token") tokens.push(event.token)
  return tokens
}

/** The greatest difference of two logits of the same row, relative to the greatest of all logits. */
function difference(a: Run, b: Run): number {
  let most = 0
  let scale = 0
  for (const [i, value] of a.logits.entries()) {
    most = Math.max(most, Math.abs(value - (b.logits[i] as number)))
    scale = Math.max(scale, Math.abs(value))
  }
  return most / scale
}

test(
  "prefill in one step = chunks of 7 = token by token",
  async () => {
    const tokens = golden.text_tokens.slice(0, N_TOKENS)
    using runner = await PlanRunner.open(path, { maxTokens: N_TOKENS, kvType: "f16" })
    const whole = runner.run(tokens)
    for (const chunk of [7, 1]) {
      const cut = runner.run(tokens, chunk)
      console.log(`chunks of ${chunk}: ${difference(whole, cut).toExponential(2)}`)
      expect(difference(whole, cut)).toBeLessThanOrEqual(1e-5)
      expect(cut.chosen).toEqual(whole.chosen)
    }
  },
  TIME,
)

test(
  "the number of threads changes logits only by rounding",
  async () => {
    const tokens = golden.text_tokens.slice(0, N_TOKENS)
    const run = async (threads: number) => {
      using runner = await PlanRunner.open(path, { maxTokens: N_TOKENS, kvType: "f16", threads })
      return runner.run(tokens)
    }
    const [one, two, three] = [await run(1), await run(2), await run(3)]
    expect(difference(one, two)).toBeLessThanOrEqual(1e-5)
    expect(difference(one, three)).toBeLessThanOrEqual(1e-5)
  },
  TIME,
)

test(
  "a seed draws the same tokens alone and among other requests",
  async () => {
    const sampling = { ...GREEDY, temperature: 0.9, topP: 0.95, seed: 20_231n }
    const prompt = golden.prompts[1]?.tokens ?? []
    const alone = await generate(prompt, sampling, 24, "alone")
    const others = golden.prompts
      .slice(2, 7)
      .map(({ tokens }, i) => generate(tokens, { ...sampling, seed: BigInt(i) }, 16 + 4 * i, `other-${i}`))
    const [together] = await Promise.all([generate(prompt, sampling, 24, "together"), ...others])
    expect(together).toEqual(alone)
    // Otherwise the sampler does not draw at all.
    expect(await generate(prompt, { ...sampling, seed: 20_232n }, 24, "other seed")).not.toEqual(alone)
  },
  TIME,
)

test(
  "greedy text is the same alone and among other requests",
  async () => {
    const prompts = golden.prompts.slice(0, 4)
    const alone: number[][] = []
    for (const [i, { tokens }] of prompts.entries()) alone.push(await generate(tokens, GREEDY, 16, `alone-${i}`))
    const together = await Promise.all(prompts.map(({ tokens }, i) => generate(tokens, GREEDY, 16, `together-${i}`)))
    expect(together).toEqual(alone)
  },
  TIME,
)
