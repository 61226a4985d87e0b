/** What the engine passes to the sampler: penalties, biases, masks and Mirostat's state, and how they follow the text. */

import { expect, test } from "bun:test"
import { dryPenalties } from "../../../src/engine/dry.ts"
import { LocalEngine, type StepContext } from "../../../src/engine/engine.ts"
import { type EngineEvent, type GenerateRequest, GREEDY, type SamplingParams } from "../../../src/engine/types.ts"
import { RF_STEP_HEADER, RF_STEP_OUTPUT, RF_STEP_RESULT } from "../../../src/native/abi.ts"
import { randomNumbers } from "./requests.ts"

const N_VOCAB = 100

/** What one output of a step asked for. */
interface Asked {
  counter: number
  mu: number
  penalties: [token: number, count: number][]
  biases: [token: number, bias: number][]
  /** Allowed tokens; `undefined`: no mask. */
  allowed: number[] | undefined
}

/** Chooses the token of the greatest logit, which falls with the distance from the last token plus 1; records what was asked for. */
class RuleContext implements StepContext {
  readonly asked: Asked[] = []
  nTokens: number[] = []
  surprise = 3

  step(step: Uint32Array | Int32Array, nWords: number, results: ArrayBufferView): void {
    const u32 = new Uint32Array(step.buffer, step.byteOffset, nWords)
    const i32 = new Int32Array(step.buffer, step.byteOffset, nWords)
    const f32 = new Float32Array(step.buffer, step.byteOffset, nWords)
    const header = (name: keyof typeof RF_STEP_HEADER.fields) => u32[RF_STEP_HEADER.fields[name].offset / 4] as number
    const out = new Int32Array(results.buffer, results.byteOffset, results.byteLength / 4)
    this.nTokens.push(header("n_tokens"))
    for (let i = 0; i < header("n_outputs"); i++) {
      const base = header("off_outputs") + (i * RF_STEP_OUTPUT.size) / 4
      const word = (name: keyof typeof RF_STEP_OUTPUT.fields) => base + RF_STEP_OUTPUT.fields[name].offset / 4
      const field = (name: keyof typeof RF_STEP_OUTPUT.fields) => u32[word(name)] as number
      const pairs = (start: number, n: number, values: ArrayLike<number>) =>
        Array.from({ length: n }, (_, k): [number, number] => {
          const at = header("off_pairs") + 2 * (start + k)
          return [i32[at] as number, values[at + 1] as number]
        })
      const biases = pairs(field("bias_start"), field("n_biases"), f32)
      const mask = u32.subarray(header("off_masks") + field("mask_start"))
      const isAllowed = (token: number) => ((mask[token >> 5] as number) >> (token & 31)) & 1
      const tokens = Array.from({ length: N_VOCAB }, (_, token) => token)
      const allowed = field("mask_words") > 0 ? tokens.filter(isAllowed) : undefined
      const last = u32[header("off_tokens") + field("row")] as number
      const logits = tokens.map((token) => -((token - last - 1 + N_VOCAB) % N_VOCAB))
      for (const [token, bias] of biases) logits[token] = (logits[token] as number) + bias
      if (allowed) for (const token of tokens) if (!allowed.includes(token)) logits[token] = Number.NEGATIVE_INFINITY
      const best = Math.max(...logits)
      const result = (i * RF_STEP_RESULT.size) / 4
      out[result] = best === Number.NEGATIVE_INFINITY ? -1 : logits.indexOf(best)
      new Float32Array(out.buffer)[out.byteOffset / 4 + result + RF_STEP_RESULT.fields.surprise.offset / 4] =
        this.surprise
      this.asked.push({
        counter: field("counter"),
        mu: f32[word("mirostat_mu")] as number,
        penalties: pairs(field("penalty_start"), field("n_penalties"), i32),
        biases,
        allowed,
      })
    }
  }

  close(): void {}
}

function start(maxDrafted = 0) {
  const context = new RuleContext()
  const limits = { contextLength: 128, nVocab: N_VOCAB, maxSeqs: 4 }
  const stepCost = { record: () => {}, leastAcceptance: () => 0 }
  return { context, engine: new LocalEngine(context, { nBlocks: 64, maxTokens: 64, limits, maxDrafted, stepCost }) }
}

async function run(
  engine: LocalEngine,
  tokens: number[],
  sampling: Partial<SamplingParams>,
  changes: Partial<GenerateRequest> = {},
) {
  const request: GenerateRequest = {
    ...{ id: "a", tokens: Int32Array.from(tokens), maxTokens: 6, stopTokens: new Set<number>() },
    sampling: { ...GREEDY, ...sampling },
    ...changes,
  }
  const said: number[] = []
  let end: Extract<EngineEvent, { type: "end" }> | undefined
  for await (const event of engine.generate(request)) {
    if (event.type === "token") said.push(event.token)
    else if (event.type === "end") end = event
  }
  return { said, reason: end?.reason, usage: end?.usage }
}

test("allowed tokens are the only ones that come", async () => {
  const { engine, context } = start()
  const { said } = await run(engine, [5], { allowedTokens: new Set([7, 31, 32, 99]) })
  expect(said).toEqual([7, 31, 32, 99, 7, 31])
  expect(context.asked[0]?.allowed).toEqual([7, 31, 32, 99])
})

test("bad words never come, nor do they hinder their beginnings elsewhere", async () => {
  const { engine } = start()
  const badWords = [[8], [10, 11], [13, 14, 15]]
  const { said } = await run(engine, [6], { badWords }, { maxTokens: 9 })
  expect(said).toEqual([7, 9, 10, 12, 13, 14, 16, 17, 18])
})

test("a bad word that begins in the prompt may end in the output", async () => {
  const { engine } = start()
  expect((await run(engine, [10], { badWords: [[10, 11]] })).said[0]).toBe(11)
})

test("a bias of -Infinity excludes a token", async () => {
  const { engine } = start()
  expect((await run(engine, [1], { logitBias: new Map([[2, Number.NEGATIVE_INFINITY]]) })).said[0]).toBe(3)
})

test("stop tokens of the request end it, and are excluded until minTokens", async () => {
  const { engine } = start()
  const stopTokenIds = new Set([9])
  expect(await run(engine, [6], {}, { stopTokenIds })).toMatchObject({ said: [7, 8, 9], reason: "stop" })
  const changes = { stopTokenIds, stopTokens: new Set([10]), minTokens: 4 }
  expect(await run(engine, [6], {}, changes)).toMatchObject({ said: [7, 8, 11, 12, 13, 14], reason: "length" })
})

test("without a token left, the error names the exclusions", async () => {
  const { engine } = start()
  const stopped = run(engine, [6], { allowedTokens: new Set([9]), badWords: [[9]] })
  await expect(stopped).rejects.toThrow("bad words and allowed tokens exclude all")
})

test("the window of the penalties moves with the text", async () => {
  const { engine, context } = start()
  await run(engine, [1, 1, 2], { repetitionPenalty: 1.5, repeatLastN: 3 }, { maxTokens: 4 })
  expect(context.asked.map(({ penalties }) => penalties)).toEqual([
    [
      [1, 0],
      [2, 0],
    ],
    [
      [1, 0],
      [2, 0],
      [3, 1],
    ],
    [
      [2, 0],
      [3, 1],
      [4, 1],
    ],
    [
      [3, 1],
      [4, 1],
      [5, 1],
    ],
  ])
})

test("a window of 0 turns the penalties off, and one for frequencies counts the output alone", async () => {
  const { engine, context } = start()
  await run(engine, [1, 2], { repetitionPenalty: 1.5, repeatLastN: 0 })
  expect(context.asked.every(({ penalties }) => penalties.length === 0)).toBe(true)
  context.asked.length = 0
  await run(engine, [1, 2], { frequencyPenalty: 1, repeatLastN: 5 }, { maxTokens: 2 })
  expect(context.asked.map(({ penalties }) => penalties)).toEqual([[], [[3, 1]]])
})

test("Mirostat's mu starts at twice tau, follows the surprises, and is each sequence's own", async () => {
  const { engine, context } = start()
  await run(engine, [1], { mirostat: 2, mirostatTau: 4, mirostatEta: 0.5, temperature: 1 }, { maxTokens: 3, n: 2 })
  const byCounter = (counter: number) => context.asked.filter((asked) => asked.counter === counter).map(({ mu }) => mu)
  for (const [counter, mu] of [8, 8.5, 9].entries()) expect(byCounter(counter)).toEqual([mu, mu])
})

test("DRY's penalties are biases of the step, beside those of the request", async () => {
  const { engine, context } = start()
  const dry = { dryMultiplier: 2, dryBase: 3, dryAllowedLength: 2 }
  await run(engine, [5, 6, 7, 20, 5, 6], { ...dry, logitBias: new Map([[7, 0.5]]) }, { maxTokens: 1 })
  expect(context.asked[0]?.biases).toEqual([[7, 0.5 - 2]])
})

test("sequences whose samplers have state are not drafted for", async () => {
  const text = Array.from({ length: 40 }, (_, i) => i % 5)
  const cycle = { allowedTokens: new Set([0, 1, 2, 3, 4]) }
  const drafts = async (sampling: Partial<SamplingParams>) => {
    const { engine, context } = start(8)
    await run(engine, text, { ...cycle, ...sampling }, { maxTokens: 30 })
    return context.nTokens.slice(1).some((n) => n > 1)
  }
  expect(await drafts({})).toBe(true)
  expect(await drafts({ badWords: [[50]], frequencyPenalty: 0.01 })).toBe(true)
  const state = [
    { mirostat: 2 },
    { dryMultiplier: 0.01 },
    { badWords: [[50, 51]] },
    { repetitionPenalty: 1.01, repeatLastN: 4 },
  ]
  for (const sampling of state as Partial<SamplingParams>[]) expect(await drafts(sampling)).toBe(false)
})

test("a text of one token takes time to decode", async () => {
  const { engine } = start()
  expect((await run(engine, [1], {}, { maxTokens: 1 })).usage?.decodeMs).toBeGreaterThan(0)
})

/** DRY by its definition: for each earlier place, the longest match, in quadratic time. */
function dryByDefinition(text: readonly number[], params: SamplingParams): Map<number, number> {
  const { dryMultiplier, dryBase, dryAllowedLength, dryPenaltyLastN, drySequenceBreakers } = params
  const seen = dryPenaltyLastN < 0 ? text : text.slice(Math.max(0, text.length - dryPenaltyLastN))
  const ends = (at: number) =>
    drySequenceBreakers.some((breaker) => breaker.every((token, i) => seen[at - breaker.length + 1 + i] === token))
  let since = 0
  while (since < seen.length && !ends(seen.length - 1 - since)) since++
  const penalties = new Map<number, number>()
  for (let next = 1; next < seen.length; next++) {
    let n = 0
    while (n < next && n < since && seen[next - 1 - n] === seen[seen.length - 1 - n]) n++
    const token = seen[next] as number
    const free = drySequenceBreakers.some((breaker) => breaker.length === 1 && breaker[0] === token)
    if (n < dryAllowedLength || free) continue
    const penalty = Math.min(dryMultiplier * dryBase ** (n - dryAllowedLength), 1e9)
    penalties.set(token, Math.max(penalties.get(token) ?? 0, penalty))
  }
  return penalties
}

test("DRY agrees with its definition on random texts", () => {
  const random = randomNumbers(5)
  const whole = (n: number) => Math.floor(random() * n)
  let nonEmpty = 0
  for (let i = 0; i < 3000; i++) {
    const text = Array.from({ length: whole(60) }, () => whole(1 + (i % 6)))
    const params: SamplingParams = {
      ...GREEDY,
      dryMultiplier: 0.8,
      dryBase: 1.5,
      dryAllowedLength: whole(4),
      dryPenaltyLastN: [-1, 7, 30][i % 3] as number,
      drySequenceBreakers: [[], [[4]], [[1, 2], [3]]][whole(3)] as number[][],
    }
    const got = dryPenalties((position) => text[position] as number, text.length, params)
    const want = dryByDefinition(text, params)
    expect([...got].sort()).toEqual([...want].sort())
    nonEmpty += want.size > 0 ? 1 : 0
  }
  expect(nonEmpty).toBeGreaterThan(1000)
})

test("DRY takes the longer of two breakers that begin alike, and stays finite", () => {
  const text = [1, 2, 9, 8, 1, 2, 9, 8, 1, 2]
  const of = (drySequenceBreakers: number[][], changes: Partial<SamplingParams> = {}) => {
    const params = { ...GREEDY, dryMultiplier: 1, dryBase: 2, drySequenceBreakers, ...changes }
    return dryPenalties((position) => text[position] as number, text.length, params)
  }
  expect([...of([])]).toEqual([[9, 16]])
  expect([...of([[9], [9, 8]])]).toEqual([])
  expect([...of([[9, 8]])]).toEqual([[9, 1]])
  expect([...of([], { dryBase: 1000, dryMultiplier: 1000 })]).toEqual([[9, 1e9]])
})
