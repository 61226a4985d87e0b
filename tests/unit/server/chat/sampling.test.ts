/** A request's sampling in the engine's terms: defaults, stages that are left out, and tokens of texts. */

import { expect, test } from "bun:test"
import { GREEDY, type LoadedModel } from "../../../../src/engine/types.ts"
import { RequestError } from "../../../../src/errors.ts"
import type { GenerationRequest } from "../../../../src/server/chat/request.ts"
import { samplingOf } from "../../../../src/server/chat/sampling.ts"
import { tokenizerFromMetadata } from "../../../../src/text/index.ts"
import { tinyTokenizer } from "../../../support/tiny-tokenizer.ts"

const metadata = tinyTokenizer(300)
const tokenizer = tokenizerFromMetadata((key) => metadata[key]?.value)
const model = { tokenizer, engine: { limits: { nVocab: 300 } } } as unknown as LoadedModel
const of = (request: GenerationRequest) => samplingOf(model, request)

test("by default nothing but the temperature differs from greedy decoding", () => {
  const { seed, ...rest } = of({})
  const { seed: _, ...greedy } = GREEDY
  expect(rest).toEqual({ ...greedy, temperature: 1 })
  expect(of({ seed: 7 }).seed).toBe(7n)
  expect(seed).not.toBe(of({}).seed)
})

test("values below the neutral one turn a limit off", () => {
  expect(of({ topK: -1, topNSigma: -1 })).toMatchObject({ topK: 0, topNSigma: 0 })
})

test("stages that are not named are off", () => {
  const request: GenerationRequest = {
    ...{ temperature: 0.5, topK: 7, topP: 0.8, minP: 0.1, typicalP: 0.9, topNSigma: 2, dynatempRange: 0.2 },
    ...{ repetitionPenalty: 1.2, presencePenalty: 1, frequencyPenalty: 1, dryMultiplier: 1, xtcProbability: 0.5 },
    seed: 1,
  }
  const all = of(request)
  expect(all).toMatchObject({ topK: 7, typicalP: 0.9, dryMultiplier: 1 })
  expect(of({ ...request, samplers: ["topK", "temperature"] })).toEqual({
    ...all,
    ...{ topP: 1, minP: 0, typicalP: 1, topNSigma: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 },
    ...{ dryMultiplier: 0, xtcProbability: 0 },
  })
  expect(of({ ...request, samplers: [] })).toMatchObject({ temperature: 1, dynatempRange: 0, topK: 0 })
})

test("biases of texts go to each of their tokens, and -Infinity passes", () => {
  const text = "the cat"
  const tokens = [...tokenizer.encode(text)]
  expect(tokens.length).toBeGreaterThan(2)
  const { logitBias } = of({ logitBias: { "9": 1.5 }, logitBiasText: [[text, Number.NEGATIVE_INFINITY]] })
  expect(logitBias).toEqual(new Map([[9, 1.5], ...tokens.map((token) => [token, Number.NEGATIVE_INFINITY] as const)]))
})

test("bad words and breakers become tokens; breakers only for DRY", () => {
  const the = [...tokenizer.encode("the")]
  expect(of({ badWords: ["the"] }).badWords).toContainEqual(the)
  expect(of({ dryMultiplier: 1, drySequenceBreakers: ["the"] }).drySequenceBreakers).toContainEqual(the.slice(0, 2))
  expect(of({ dryMultiplier: 1 }).drySequenceBreakers).toContainEqual([...tokenizer.encode(":")])
  expect(of({ drySequenceBreakers: ["the"] }).drySequenceBreakers).toEqual([])
})

test("unknown tokens are refused by name", () => {
  const refused = (request: GenerationRequest) => {
    try {
      of(request)
    } catch (error) {
      return error
    }
  }
  for (const [request, param] of [
    [{ logitBias: { "300": 1 } }, "logitBias"],
    [{ allowedTokenIds: [1, 300] }, "allowedTokenIds"],
    [{ badWords: [""] }, "badWords"],
  ] as const) {
    expect(refused(request)).toBeInstanceOf(RequestError)
    expect(refused(request)).toMatchObject({ param })
  }
})
