/** Random load on small engines: every request ends once, with the same tokens as when it runs alone, and every block is released. */

import { expect, test } from "bun:test"
import { LocalEngine } from "../../../src/engine/engine.ts"
import type { EngineStats, GenerateRequest } from "../../../src/engine/types.ts"
import { EngineError, OverloadedError } from "../../../src/errors.ts"
import {
  type Answer,
  emptyAnswers,
  expected,
  note,
  randomNumbers,
  repeatingText,
  request,
  sampled,
} from "./requests.ts"
import { SHADOW_VOCAB, ShadowContext } from "./shadow-context.ts"

const N_STEPS = 10_000
const STEPS_A_RUN = 400

type Random = () => number
const whole = (random: Random, low: number, high: number): number => low + Math.floor(random() * (high - low + 1))
const one = <T>(random: Random, items: readonly T[]): T => items[Math.floor(random() * items.length)] as T
const turn = () => new Promise((resolve) => setImmediate(resolve))

function randomEngine(random: Random) {
  const maxSeqs = whole(random, 1, 12)
  const limits = {
    nBlocks: whole(random, 4, one(random, [10, 30, 100])),
    maxSeqs,
    maxTokens: Math.max(maxSeqs, whole(random, 16, 128)),
  }
  const maxDrafted = random() < 0.5 ? whole(random, 1, 20) : 0
  const least = 0.3 * random()
  const context = new ShadowContext({ ...limits, max_outputs: maxSeqs + maxDrafted })
  const engine = new LocalEngine(context, {
    ...limits,
    chunkTokens: whole(random, 1, 32),
    limits: { contextLength: whole(random, 40, 200), nVocab: SHADOW_VOCAB, maxSeqs: maxSeqs },
    maxQueue: whole(random, 4, 40),
    prefixCache: random() < 0.8,
    maxDrafted: maxDrafted,
    stepCost: { record: () => {}, leastAcceptance: () => least },
  })
  return { engine, context }
}

const BEGINNINGS = [Array.from({ length: 200 }, (_, i) => i), repeatingText(1, 2, 200)]

/** A random request. Prompts have common prefixes of whole and partial blocks. */
function randomRequest(random: Random, id: string, contextLength: number): GenerateRequest {
  const n_prompt = Math.min(whole(random, 1, one(random, [4, 20, 120])), contextLength - 1)
  const one_of = one(random, BEGINNINGS)
  const alike = one(random, [n_prompt, n_prompt - 1, whole(random, 0, n_prompt)])
  const tokens = Array.from({ length: n_prompt }, (_, i) => (i < alike ? (one_of[i] as number) : whole(random, 0, 399)))
  const penalties = random() < 0.3 ? { frequencyPenalty: 0.5 } : random() < 0.2 ? { repetitionPenalty: 1.1 } : {}
  return request(id, tokens, {
    sampling: sampled(whole(random, 0, 5), penalties),
    maxTokens: whole(random, 1, one(random, [3, 60, 200])),
    stopTokens: new Set(random() < 0.3 ? [whole(random, 0, 12), whole(random, 0, 399)] : []),
    n: random() < 0.3 ? whole(random, 2, 5) : 1,
    priority: one(random, [0, 0, 0, -1, 2]),
    key: one(random, ["", "a", "b"]),
    cacheSalt: one(random, ["", "", "salt"]),
    ...(random() < 0.05 ? { deadlineMs: whole(random, 1, 10) } : {}),
  })
}

interface Outcome {
  asked: GenerateRequest
  answers: Answer[]
  error?: unknown
}

/** Reads a request, and sometimes cancels it. */
async function consume(engine: LocalEngine, asked: GenerateRequest, random: Random): Promise<Outcome> {
  const answers = emptyAnswers(asked)
  const stop = new AbortController()
  const abort_at = random() < 0.15 ? whole(random, 0, 20) : -1
  const leave_at = random() < 0.1 ? whole(random, 1, 20) : -1
  let n = 0
  if (abort_at === 0) setImmediate(() => stop.abort())
  try {
    for await (const event of engine.generate(asked, stop.signal)) {
      note(answers, event)
      if (++n === abort_at) stop.abort()
      if (n === leave_at) return { asked, answers, error: "left" }
    }
    return { asked, answers }
  } catch (error) {
    return { asked, answers, error }
  }
}

function check({ asked, answers, error }: Outcome, contextLength: number): void {
  const ended = answers.filter(({ reason }) => reason !== undefined)
  if (error === undefined) expect(ended).toHaveLength(answers.length)
  else if (error !== "left") {
    const known =
      error instanceof OverloadedError || (error instanceof EngineError && /on fire|NaN/.test(error.message))
    expect(known ? "known" : error).toBe("known")
  }
  for (const [i, { tokens, logprobs, reason }] of answers.entries()) {
    const wanted = expected(asked, i, contextLength)
    const whole = reason === "stop" || reason === "length"
    const upto = whole ? wanted.tokens.length : tokens.length
    expect({ tokens, logprobs }).toEqual({
      tokens: wanted.tokens.slice(0, upto),
      logprobs: wanted.logprobs.slice(0, upto),
    })
    if (whole) expect(reason).toBe(wanted.reason as string)
  }
}

/** Runs one engine from start to close. @returns its statistics. */
async function run(seed: number): Promise<EngineStats> {
  const random = randomNumbers(seed)
  const { engine, context } = randomEngine(random)
  const breaks = random() < 0.3
  context.before = () => {
    if (breaks && random() < 0.005) throw new Error("on fire")
  }
  context.spoil = (token) => (breaks && random() < 0.002 ? -1 : token)
  const { contextLength } = engine.limits
  const hurry = one(random, [0.1, 0.5, 1])
  const runs: Promise<Outcome>[] = []
  while (context.steps < STEPS_A_RUN) {
    if (random() < hurry || engine.stats().running === 0) {
      runs.push(consume(engine, randomRequest(random, `r${runs.length}`, contextLength), random))
    }
    await turn()
    const { running, waiting, blocksFree, blocksTotal, blocksCached } = engine.stats()
    if (running + waiting === 0) expect(blocksFree).toBe(blocksTotal)
    expect(blocksCached).toBeLessThanOrEqual(blocksFree)
  }
  for (const outcome of await Promise.all(runs)) check(outcome, contextLength)
  const stats = engine.stats()
  expect(stats).toMatchObject({ running: 0, waiting: 0, blocksFree: stats.blocksTotal })
  await engine.close()
  return stats
}

test("every request ends once with its own tokens, and no block is lost or shared wrongly", async () => {
  const total = {
    steps: 0,
    nPreemptions: 0,
    prefixHitTokens: 0,
    generatedTokens: 0,
    draftedTokens: 0,
    acceptedTokens: 0,
  }
  for (let seed = 1; total.steps < N_STEPS; seed++) {
    const stats = await run(seed).catch((error: unknown) => {
      throw new Error(`with seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error })
    })
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += stats[key]
  }
  expect(total.nPreemptions).toBeGreaterThan(100)
  expect(total.prefixHitTokens).toBeGreaterThan(500)
  expect(total.acceptedTokens).toBeGreaterThan(300)
  expect(total.draftedTokens - total.acceptedTokens).toBeGreaterThan(100)
})
