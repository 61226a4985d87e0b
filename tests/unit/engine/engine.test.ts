import { expect, test } from "bun:test"
import { nextTurn } from "../../../src/async.ts"
import { LocalEngine } from "../../../src/engine/engine.ts"
import { type EngineEvent, type GenerateRequest, GREEDY } from "../../../src/engine/types.ts"
import { EngineError, RequestError } from "../../../src/errors.ts"
import { NullContext } from "./null-context.ts"

interface Setup {
  nBlocks?: number
  maxTokens?: number
  maxSeqs?: number
  contextLength?: number
}

function start({ nBlocks = 64, maxTokens = 32, maxSeqs = 4, contextLength = 256 }: Setup = {}) {
  const context = new NullContext(nBlocks)
  const limits = { contextLength, nVocab: 1000, maxSeqs }
  return { context, engine: new LocalEngine(context, { nBlocks: nBlocks, maxTokens: maxTokens, limits }) }
}

const request = (id: string, tokens: number[], changes: Partial<GenerateRequest> = {}): GenerateRequest => ({
  id,
  tokens: Int32Array.from(tokens),
  sampling: GREEDY,
  maxTokens: 4,
  stopTokens: new Set(),
  ...changes,
})

async function read(events: AsyncIterable<EngineEvent>): Promise<{ tokens: number[]; end: EngineEvent | undefined }> {
  const tokens: number[] = []
  let end: EngineEvent | undefined
  for await (const event of events) {
    if (event.type === "token") tokens.push(event.token)
    else end = event
  }
  return { tokens, end }
}

const range = (from: number, n: number): number[] => Array.from({ length: n }, (_, i) => from + i)

test("a prompt gives tokens and one end event", async () => {
  const { engine, context } = start()
  const { tokens, end } = await read(engine.generate(request("a", [5, 6, 7])))
  expect(tokens).toEqual([8, 9, 10, 11])
  expect(end).toMatchObject({ type: "end", reason: "length", usage: { promptTokens: 3, completionTokens: 4 } })
  expect(context.seen.map(({ tokens }) => tokens)).toEqual([[5, 6, 7], [8], [9], [10]])
  expect(context.seen.flatMap(({ outputs }) => outputs.map(({ counter }) => counter))).toEqual([0, 1, 2, 3])
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64, steps: 4 })
})

test("a long prompt is computed in chunks, in the same steps as the tokens of others", async () => {
  const { engine, context } = start({ maxTokens: 16 })
  const short = read(engine.generate(request("short", [1], { maxTokens: 8 })))
  const long = read(engine.generate(request("long", range(100, 60), { maxTokens: 2 })))
  expect((await short).tokens).toEqual(range(2, 8))
  expect((await long).tokens).toEqual([160, 161])
  const decoding = context.seen.filter(({ seqs }) => seqs.length === 2)
  expect(decoding.length).toBeGreaterThan(3)
  for (const { tokens } of context.seen) expect(tokens.length).toBeLessThanOrEqual(16)
})

test("sixteen requests in four slots all get their own tokens", async () => {
  const { engine } = start({ nBlocks: 12 })
  const answers = await Promise.all(
    range(0, 16).map((i) => read(engine.generate(request(`r${i}`, range(i * 50, 3 + i), { maxTokens: 20 })))),
  )
  for (const [i, { tokens, end }] of answers.entries()) {
    expect(tokens).toEqual(range(i * 50 + 3 + i, 20).map((token) => token % 1000))
    expect(end).toMatchObject({ reason: "length" })
  }
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 12 })
})

test("stop tokens and the end of the context finish a request", async () => {
  const { engine } = start({ contextLength: 10 })
  const stopped = await read(engine.generate(request("a", [1], { maxTokens: 100, stopTokens: new Set([4]) })))
  expect(stopped).toMatchObject({ tokens: [2, 3, 4], end: { reason: "stop" } })
  const full = await read(engine.generate(request("b", [1, 2, 3], { maxTokens: 100 })))
  expect(full).toMatchObject({ tokens: range(4, 7), end: { reason: "length" } })
})

test("a signal cancels a running and a waiting request, and frees their blocks", async () => {
  const { engine } = start({ maxSeqs: 1, contextLength: 1000, nBlocks: 64 })
  const stop = new AbortController()
  const running = engine.generate(request("a", [1], { maxTokens: 900 }), stop.signal)
  let waiting: ReturnType<typeof read> | undefined
  const events: EngineEvent[] = []
  for await (const event of running) {
    waiting ??= read(engine.generate(request("b", [1], { maxTokens: 900 }), stop.signal))
    events.push(event)
    if (events.length === 3) {
      expect(engine.stats()).toMatchObject({ running: 1, waiting: 1 })
      stop.abort()
    }
  }
  expect(events.at(-1)).toMatchObject({ type: "end", reason: "cancelled", usage: { completionTokens: 3 } })
  expect(await waiting).toMatchObject({ tokens: [], end: { reason: "cancelled" } })
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
  const late = await read(engine.generate(request("c", [1]), stop.signal))
  expect(late).toMatchObject({ tokens: [], end: { reason: "cancelled" } })
})

test("a consumer that stops reading cancels its request, and no further step computes it", async () => {
  const { engine, context } = start()
  for await (const event of engine.generate(request("a", [1], { maxTokens: 100 }))) {
    expect(event.type).toBe("token")
    break
  }
  expect(engine.stats()).toMatchObject({ running: 0, blocksFree: 64, steps: 1 })
  for (let i = 0; i < 5; i++) await nextTurn()
  expect(context.seen).toHaveLength(1)
  expect((await read(engine.generate(request("a", [1])))).tokens).toHaveLength(4)
})

test("a step that fails ends its requests with an error, and the engine continues", async () => {
  const { engine, context } = start()
  context.before = (n) => {
    if (n === 0) throw new Error("the device is on fire")
  }
  const failed = read(engine.generate(request("a", [1])))
  await expect(failed).rejects.toThrow(EngineError)
  await expect(failed).rejects.toThrow("on fire")
  context.before = () => {}
  expect((await read(engine.generate(request("a", [1])))).tokens).toHaveLength(4)
  expect(engine.stats().blocksFree).toBe(64)
})

test("a fault of the engine itself ends every request with an error, and the engine continues", async () => {
  const { engine } = start({ maxSeqs: 1 })
  const stopTokens = new Set<number>()
  stopTokens.has = () => {
    throw new Error("a bug")
  }
  const outcomes = await Promise.allSettled([
    read(engine.generate(request("a", [1], { stopTokens: stopTokens }))),
    read(engine.generate(request("b", [2]))),
  ])
  for (const outcome of outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { name: "EngineError" } })
  }
  expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
  expect((await read(engine.generate(request("a", [1])))).tokens).toHaveLength(4)
})

test("NaN in the logits is an error only for that request", async () => {
  const { engine, context } = start()
  context.choose = (token) => (token === 503 ? -1 : token)
  const [bad, good] = await Promise.allSettled([
    read(engine.generate(request("bad", [500]))),
    read(engine.generate(request("good", [600]))),
  ])
  expect(bad).toMatchObject({ status: "rejected", reason: { name: "EngineError" } })
  expect(good).toMatchObject({ status: "fulfilled", value: { tokens: range(601, 4) } })
})

test("closing ends running requests with an error, frees the context once, and refuses new requests", async () => {
  const { engine, context } = start({ maxSeqs: 1, contextLength: 1000 })
  const running = read(engine.generate(request("a", [1], { maxTokens: 900 })))
  const waiting = read(engine.generate(request("b", [1], { maxTokens: 900 })))
  const outcomes = Promise.allSettled([running, waiting])
  for (let i = 0; i < 5; i++) await nextTurn()
  expect(engine.stats()).toMatchObject({ running: 1, waiting: 1 })
  await engine.close()
  await engine.close()
  for (const outcome of await outcomes) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { name: "EngineError" } })
  }
  expect(context.closed).toBe(1)
  await expect(read(engine.generate(request("c", [1])))).rejects.toThrow(EngineError)
})

const refused: [name: string, param: string, change: Partial<GenerateRequest>][] = [
  ["an empty prompt", "prompt", { tokens: new Int32Array(0) }],
  ["a prompt as long as the context", "prompt", { tokens: new Int32Array(256) }],
  ["a token beyond the vocabulary", "prompt", { tokens: Int32Array.of(1, 1000) }],
  ["a negative token", "prompt", { tokens: Int32Array.of(-1) }],
  ["no tokens to generate", "maxTokens", { maxTokens: 0 }],
  ["half a token to generate", "maxTokens", { maxTokens: 1.5 }],
  ["no choices", "n", { n: 0 }],
  ["half a choice", "n", { n: 1.5 }],
  ["a thousand choices", "n", { n: 1000 }],
  ["a priority that is NaN", "priority", { priority: Number.NaN }],
  ["a deadline that has passed", "deadlineMs", { deadlineMs: 0 }],
  ["a negative temperature", "temperature", { sampling: { ...GREEDY, temperature: -1 } }],
  ["a temperature that is NaN", "temperature", { sampling: { ...GREEDY, temperature: Number.NaN } }],
  ["a topP above 1", "topP", { sampling: { ...GREEDY, topP: 1.1 } }],
  ["a topK that is no whole number", "topK", { sampling: { ...GREEDY, topK: 2.5 } }],
  ["a repetition penalty of 0", "repetitionPenalty", { sampling: { ...GREEDY, repetitionPenalty: 0 } }],
  ["21 log-probabilities", "logprobs", { sampling: { ...GREEDY, logprobs: 21 } }],
  ["a bias of an unknown token", "logitBias", { sampling: { ...GREEDY, logitBias: new Map([[1000, 1]]) } }],
  ["a typicalP above 1", "typicalP", { sampling: { ...GREEDY, typicalP: 1.1 } }],
  ["a negative topNSigma", "topNSigma", { sampling: { ...GREEDY, topNSigma: -1 } }],
  ["a dryBase of 0", "dryBase", { sampling: { ...GREEDY, dryBase: 0 } }],
  ["half a token to look back at", "repeatLastN", { sampling: { ...GREEDY, repeatLastN: 1.5 } }],
  ["a bad word of an unknown token", "badWords", { sampling: { ...GREEDY, badWords: [[1, 1000]] } }],
  ["an unknown allowed token", "allowedTokenIds", { sampling: { ...GREEDY, allowedTokens: new Set([-1]) } }],
  ["no allowed token", "allowedTokenIds", { sampling: { ...GREEDY, allowedTokens: new Set() } }],
  ["an unknown stop token", "stopTokenIds", { stopTokenIds: new Set([1000]) }],
  ["an infinite bias", "logitBias", { sampling: { ...GREEDY, logitBias: new Map([[1, Infinity]]) } }],
]
for (const [name, param, change] of refused) {
  test(`refused: ${name}`, async () => {
    const { engine, context } = start()
    const error = await read(engine.generate(request("a", [1], change))).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RequestError)
    expect(error).toMatchObject({ param })
    expect(context.seen).toHaveLength(0)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, blocksFree: 64 })
  })
}

test("an id in use is refused, and can be used again afterwards", async () => {
  const { engine } = start()
  const first = read(engine.generate(request("a", [1], { maxTokens: 50 })))
  await nextTurn()
  await expect(read(engine.generate(request("a", [2])))).rejects.toMatchObject({ code: "duplicate_id" })
  expect((await first).tokens).toHaveLength(50)
})
