/** Constraints in a running engine: outputs, independence of other requests, and faults of the thread. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type LoadOptions, loadModel } from "../../../src/engine/load.ts"
import { superviseModel } from "../../../src/engine/process/index.ts"
import { generateText } from "../../../src/engine/text.ts"
import type { LoadedModel } from "../../../src/engine/types.ts"
import { GREEDY, type SamplingParams } from "../../../src/engine/types.ts"
import { EngineError, RequestError } from "../../../src/errors.ts"
import type { Constraint } from "../../../src/grammar/constraint.ts"
import type { MatcherEvents } from "../../../src/grammar/matcher.ts"
import { GrammarWorker } from "../../../src/grammar/worker.ts"
import { FakeClock } from "../../support/clock.ts"
import { constraintFor, type Form } from "../../support/grammar.ts"
import { sampleSchemas, validatorFor } from "../../support/json-schemas.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

let folder: string
let path: string
let model: LoadedModel
let ids = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "constrained-"))
  path = join(folder, "tiny.gguf")
  await writeTinyModel(path, { context_length: 1024 })
  model = await open()
})
afterAll(async () => {
  await model.close()
  await rm(folder, { recursive: true })
})

const open = (options: LoadOptions = {}): Promise<LoadedModel> =>
  loadModel(path, { device: "cpu", threads: 1, ...options })

interface Asked {
  constraint?: Constraint
  n?: number
  maxTokens?: number
  sampling?: Partial<SamplingParams>
  prompt?: string
}

interface Choice {
  text: string
  reason: string
}

async function say(engine: LoadedModel, { prompt = "Say: ", sampling, ...asked }: Asked): Promise<Choice[]> {
  const request = {
    id: `${ids++}`,
    promptTokens: engine.tokenizer.encode(prompt),
    sampling: { ...GREEDY, temperature: 1.5, seed: 7n, ...sampling },
    maxTokens: 200,
    stop: [],
    ...asked,
  }
  const choices: Choice[] = Array.from({ length: asked.n ?? 1 }, () => ({ text: "", reason: "" }))
  for await (const event of generateText(engine, request)) {
    const choice = choices[event.index] as Choice
    if (event.type === "text") choice.text += event.text
    else choice.reason = event.reason
  }
  return choices
}

const keeping = (form: Form): Constraint => constraintFor(form, "response_format")
const regex = (pattern: string): Constraint => keeping({ type: "regex", pattern })
const PLATE = "[A-Z]{2}-\\d{3,5}( [äöü]{1,3})?"
const isPlate = new RegExp(`^(?:${PLATE})$`, "u")

test("each of several choices satisfies the constraint and ends by itself", async () => {
  const choices = await say(model, { constraint: regex(PLATE), n: 4 })
  for (const { text, reason } of choices) {
    expect(text).toMatch(isPlate)
    expect(reason).toBe("stop")
  }
  expect(new Set(choices.map(({ text }) => text)).size).toBeGreaterThan(1)
})

test("forty schemas at once: every complete text validates", async () => {
  const schemas = sampleSchemas(40, 11)
  const answers = await Promise.all(
    schemas.map((schema, i) =>
      say(model, {
        constraint: keeping({ type: "json_schema", schema }),
        maxTokens: 300,
        sampling: { seed: BigInt(i) },
      }),
    ),
  )
  let ended = 0
  for (const [i, [choice]] of answers.entries()) {
    if (choice?.reason !== "stop") continue
    ended++
    const fault = validatorFor(schemas[i])(JSON.parse(choice.text))
    expect({ schema: schemas[i], text: choice.text, fault }).toEqual({
      schema: schemas[i],
      text: choice.text,
      fault: undefined,
    })
  }
  expect(ended).toBeGreaterThan(20)
})

test("a text that is cut off ends with `length`", async () => {
  const [choice] = await say(model, { constraint: regex("a{50}"), maxTokens: 9 })
  expect(choice?.reason).toBe("length")
  expect(choice?.text).toMatch(/^a{9,18}$/)
})

test("penalties, biases and log-probabilities work with a constraint", async () => {
  const a = model.tokenizer.encode("a")[0] as number
  const sampling = { frequencyPenalty: 1, repetitionPenalty: 1.2, logitBias: new Map([[a, 100]]), logprobs: 2 }
  const [choice] = await say(model, { constraint: regex("[ab]{6}"), sampling: { ...sampling, temperature: 0 } })
  expect(choice?.text).toBe("aaaaaa")
})

test("the tokens do not depend on speculation, other requests, or preemption", async () => {
  const asked = Array.from({ length: 6 }, (_, i): Asked => {
    const sampling = { seed: BigInt(i), temperature: 1 }
    const constraint =
      i % 3 === 2 ? undefined : keeping({ type: "json_schema", schema: sampleSchemas(6, 21, true)[i] as never })
    return { sampling, prompt: "abc abc ".repeat(2 + i), maxTokens: 120, ...(constraint && { constraint }) }
  })
  const alone: Choice[][] = []
  for (const one of asked) alone.push(await say(model, one))
  await using drafting = await open({ speculative: "ngram" })
  await using small = await open({ ctxSize: 256, fullLengths: 1, maxSeqs: 6 })
  for (const engine of [drafting, small]) expect(await Promise.all(asked.map((one) => say(engine, one)))).toEqual(alone)
  expect(small.engine.stats().nPreemptions).toBeGreaterThan(0)
})

test("an engine in a child process generates the same", async () => {
  await using other = await superviseModel(path, { device: "cpu", threads: 1 })
  const asked: Asked = { constraint: regex(PLATE), n: 3 }
  expect(await say(other as LoadedModel, asked)).toEqual(await say(model, asked))
  const refused = say(other as LoadedModel, { constraint: regex("(") })
  expect(refused).rejects.toThrow(RequestError)
  await refused.catch((error) => expect(error).toMatchObject({ param: "response_format", code: "invalid_constraint" }))
})

/** Each rule can return to two places, so that there are 2^20 ways to read a "c". */
const AMBIGUOUS = [
  "root ::= r0",
  ...Array.from({ length: 20 }, (_, i) => `r${i} ::= r${i + 1} "a" | r${i + 1} "b"`),
  'r20 ::= "c"',
].join("\n")

test.each([
  ["looking behind", regex("a(?<=b)")],
  ["too many ways", keeping({ type: "grammar", grammar: AMBIGUOUS })],
  ["'contains'", keeping({ type: "json_schema", schema: { type: "array", contains: true, maxContains: 2 } })],
  ["no rule named 'x'", keeping({ type: "grammar", grammar: "root ::= x" })],
  ["at most 2097152 are allowed", regex("a".repeat(2_100_000))],
] as const)("a constraint is refused with '%s', and the engine goes on", async (reason, constraint) => {
  const refused = await say(model, { constraint }).catch((error) => error)
  expect(refused).toBeInstanceOf(RequestError)
  expect(refused.param).toBe("response_format")
  expect(refused.message).toContain(reason)
  expect((await say(model, { constraint: regex("yes") }))[0]?.text).toBe("yes")
  expect(model.engine.stats()).toMatchObject({ running: 0, waiting: 0 })
})

test("a constraint is refused without an end token, and for an embedding", async () => {
  const tokens = model.tokenizer.encode("a")
  const request = {
    id: "none",
    tokens,
    sampling: GREEDY,
    maxTokens: 9,
    stopTokens: new Set<number>(),
    constraint: regex("a"),
  }
  const ask = (changes: object) =>
    model.engine
      .generate({ ...request, ...changes })
      [Symbol.asyncIterator]()
      .next()
  expect(ask({})).rejects.toThrow("leave ignoreEos out")
  expect(ask({ pooling: "mean" })).rejects.toThrow("has no text for response_format")
})

test("a cancelled request releases everything it used", async () => {
  const asked = { id: "given up", sampling: GREEDY, maxTokens: 500, stop: [], constraint: regex("a*b") }
  let n = 0
  for await (const _ of generateText(model, { ...asked, promptTokens: model.tokenizer.encode("x") }))
    if (++n === 3) break
  expect(model.engine.stats()).toMatchObject({ running: 0, waiting: 0 })
})

const next = (grammars: GrammarWorker, pattern: string) => {
  const { promise, resolve, reject } = Promise.withResolvers<Uint32Array>()
  const events: MatcherEvents = { onMask: () => resolve(matcher.mask as Uint32Array), onFailure: reject }
  const matcher = grammars.open(regex(pattern), new Set([2]), events)
  promise.catch(() => {})
  return { matcher, mask: promise }
}

/** Waits for the thread, which does not use the fake clock. */
const until = async (condition: () => boolean) => {
  while (!condition()) await Bun.sleep(1)
}

/** Waits until the thread has started on a matcher, which sets `asked` again. */
async function begun({ matcher }: ReturnType<typeof next>, clock: FakeClock): Promise<void> {
  await clock.advance(1)
  await until(() => matcher.asked === clock.now())
}

test.each([
  ["for ever", RequestError, "took more than 0.5 s"],
  ["dies", EngineError, "it died"],
] as const)("a matcher that '%s' fails, and the others continue where they were", async (pattern, kind, reason) => {
  const program = join(import.meta.dir, "../../support/stuck-thread.ts")
  const clock = new FakeClock()
  const grammars = new GrammarWorker({ path, nVocab: model.tokenizer.vocabSize, limitMs: 500, program, clock })
  try {
    const good = next(grammars, "ab")
    await good.mask
    good.matcher.accept(model.tokenizer.encode("a")[0] as number)
    const bad = next(grammars, pattern)
    const failed = bad.mask.then(
      () => undefined,
      (cause) => cause,
    )
    if (pattern === "for ever") {
      await begun(bad, clock)
      await clock.advance(499)
      expect(bad.matcher.asked).toBeDefined()
      await clock.advance(250)
    }
    const error = await failed
    expect(error).toBeInstanceOf(kind)
    expect(error.message).toContain(reason)
    await until(() => good.matcher.mask !== undefined)
    const b = model.tokenizer.encode("b")[0] as number
    const words = new Uint32Array(Math.ceil(model.tokenizer.vocabSize / 32))
    words[b >>> 5] = 1 << (b & 31)
    expect(good.matcher.mask).toEqual(words)
  } finally {
    grammars.close()
  }
})

test("closing a matcher that keeps the thread busy does not delay the next matcher", async () => {
  const program = join(import.meta.dir, "../../support/stuck-thread.ts")
  const clock = new FakeClock()
  const grammars = new GrammarWorker({ path, nVocab: model.tokenizer.vocabSize, program, clock })
  try {
    const good = next(grammars, "a")
    await good.mask
    good.matcher.close()
    const bad = next(grammars, "for ever")
    await begun(bad, clock)
    bad.matcher.close()
    await next(grammars, "ab").mask // The clock does not advance, so no time limit can end the thread.
  } finally {
    grammars.close()
  }
})

test("matchers wait when there are too many grammars", async () => {
  const grammars = new GrammarWorker({ path, nVocab: model.tokenizer.vocabSize })
  try {
    const texts = Array.from({ length: 40 }, (_, i) => next(grammars, `a{${i + 1}}`))
    await Promise.all(texts.slice(0, 32).map(({ mask }) => mask))
    await until(() => texts.slice(32).every(({ matcher }) => matcher.asked === undefined))
    expect(texts.map(({ matcher }) => matcher.mask !== undefined)).toEqual(texts.map((_, i) => i < 32))
    for (const { matcher } of texts.slice(0, 8)) matcher.close()
    await Promise.all(texts.slice(32).map(({ mask }) => mask))
  } finally {
    grammars.close()
  }
})

test("a program exits when its engine is closed, but not while it waits for masks", async () => {
  const program = `
    import { loadModel } from ${JSON.stringify(join(import.meta.dir, "../../../src/engine/load.ts"))}
    const model = await loadModel(${JSON.stringify(path)}, { device: "cpu", threads: 1 })
    const stopTokens = new Set([2])
    const constraint = { type: "regex", pattern: "ab", param: "regex" }
    const request = { id: "1", tokens: Int32Array.of(5), sampling: ${JSON.stringify({ ...GREEDY, logitBias: 0, seed: 0 })}, maxTokens: 9, stopTokens, constraint }
    request.sampling.logitBias = new Map()
    request.sampling.seed = 0n
    let n = 0
    for await (const event of model.engine.generate(request)) n++
    console.log(n > 1 ? "said" : "nothing")
    if (process.argv.includes("close")) await model.close()
  `
  const file = join(folder, "program.ts")
  await Bun.write(file, program)
  for (const args of [["close"], []]) {
    const child = Bun.spawn([process.execPath, file, ...args], { stdout: "pipe", stderr: "inherit" })
    expect(await new Response(child.stdout).text()).toBe("said\n")
    expect(await child.exited).toBe(0)
  }
})
