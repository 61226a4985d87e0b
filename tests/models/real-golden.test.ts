/** The default model against transformers in float32 on the same weights: distributions, perplexity, greedy text. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { loadModel } from "../../src/engine/load.ts"
import type { LoadedModel } from "../../src/engine/types.ts"
import { GREEDY } from "../../src/engine/types.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { logSoftmax, mergedDivergence, type RealGolden, readRealGolden } from "../support/real-golden.ts"
import { PlanRunner } from "../support/run-plan.ts"

const MAX_DIVERGENCE = 2e-3
const MAX_PERPLEXITY_ERROR = 0.005
const MIN_EQUAL_CONTINUATIONS = 8

let golden: RealGolden
let path: string
let model: LoadedModel

beforeAll(async () => {
  golden = await readRealGolden()
  path = await resolveModel("smollm2-135m")
  model = await loadModel(path, { device: "cpu", threads: 2, ctxSize: 1024, maxSeqs: 1 })
}, 300_000)

afterAll(() => model?.close())

test("the golden data belongs to this file", async () => {
  const hash = new Bun.CryptoHasher("sha256")
  for await (const chunk of Bun.file(path).stream()) hash.update(chunk)
  expect(hash.digest("hex")).toBe(golden.model.sha256)
})

test("text and prompts are encoded to the peer's tokens", () => {
  const ids = (text: string) => Array.from(model.tokenizer.encode(text, { special: true }))
  expect(ids(golden.text).slice(0, golden.text_tokens.length)).toEqual(golden.text_tokens)
  for (const prompt of golden.prompts) expect(ids(prompt.text)).toEqual(prompt.tokens)
})

test("distributions and perplexity over 512 tokens", async () => {
  const tokens = golden.text_tokens.slice(0, -1)
  using runner = await PlanRunner.open(path, { maxTokens: tokens.length, kvType: "f16" })
  const { logits, chosen } = runner.run(tokens, 128)
  const vocab = logits.length / tokens.length
  let divergence = 0
  let surprise = 0
  let sameBest = 0
  for (const [i, top] of golden.top.entries()) {
    const found = logSoftmax(logits.subarray(i * vocab, (i + 1) * vocab))
    divergence += mergedDivergence(top, found)
    surprise -= found[golden.text_tokens[i + 1] as number] as number
    if (chosen[i] === top.tokens[0]) sameBest++
  }
  const n = tokens.length
  const perplexity = Math.exp(surprise / n)
  const error = perplexity / golden.transformers.perplexity - 1
  console.log(
    `KL ${(divergence / n).toExponential(2)} (llama.cpp: ${golden["llama.cpp"].kl.toExponential(2)}), ` +
      `perplexity ${perplexity.toFixed(3)} (${(100 * error).toFixed(3)} %), same best token ${sameBest} of ${n}`,
  )
  expect(divergence / n).toBeLessThanOrEqual(MAX_DIVERGENCE)
  // Merging tokens lowers the sum only by rounding: a clearly negative sum would mean corrupt golden data.
  expect(divergence / n).toBeGreaterThan(-1e-4)
  expect(Math.abs(error)).toBeLessThanOrEqual(MAX_PERPLEXITY_ERROR)
}, 120_000)

test("greedy continuations of 48 tokens", async () => {
  let equal = 0
  for (const [i, prompt] of golden.prompts.entries()) {
    const expected = golden.transformers.greedy[i] as RealGolden["transformers"]["greedy"][number]
    const found: number[] = []
    const request = { id: `greedy-${i}`, tokens: Int32Array.from(prompt.tokens), sampling: GREEDY }
    const events = model.engine.generate({
      ...request,
      maxTokens: expected.tokens.length,
      stopTokens: new Set(),
    })
    for await (const event of events) if (event.type === "token") found.push(event.token)
    expect(found.length).toBe(expected.tokens.length)
    const parts = expected.tokens.findIndex((token, at) => token !== found[at])
    if (parts < 0) equal++
    else
      console.log(
        `prompt ${i} parts at token ${parts}: ${found[parts]}, not ${expected.tokens[parts]}, ` +
          `which led by ${expected.margins[parts]}`,
      )
  }
  expect(equal).toBeGreaterThanOrEqual(MIN_EQUAL_CONTINUATIONS)
}, 120_000)
