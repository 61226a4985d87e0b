#!/usr/bin/env bun
/**
 * Correctness and cost of constraints: runs 200 JSON schemas on a real model, and checks each answer with an independent validator. After
 * each answer it generates as many unconstrained tokens, and compares the times per token. Exits with 1 when an answer does not validate,
 * or when the median constrained token takes over 10 % longer. First it compiles 64 large tools, for the time and the memory to the first
 * mask.
 *
 *     bun tests/bench/structured.ts [MODEL] [--schemas 200] [--threads 2] [--temperature 1] [--only tools|validate|time]
 */

import { parseArgs } from "node:util"
import { loadModel } from "../../src/engine/load.ts"
import { generateText, type TextRequest } from "../../src/engine/text.ts"
import type { LoadedModel } from "../../src/engine/types.ts"
import { GREEDY, type Usage } from "../../src/engine/types.ts"
import { compileConstraint } from "../../src/grammar/compile.ts"
import { constraintOf, type ToolsConstraint } from "../../src/grammar/constraint.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { realVocabulary } from "../support/grammar.ts"
import { limited, type Schema, sampleSchemas, validatorFor } from "../support/json-schemas.ts"

const MOST = 1.1
const SEED = 2026
/** Greatest length of the strings and lists of the large tools. */
const LONG = 20_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    schemas: { type: "string", default: "200" },
    threads: { type: "string", default: "2" },
    temperature: { type: "string", default: "1" },
    max_tokens: { type: "string", default: "80" },
    only: { type: "string" },
  },
})
/** 64 tools with 20 parameters each: long strings, and lists of many objects with a long string. */
function largeTools(): ToolsConstraint {
  const text = { type: "string", maxLength: LONG }
  const list = { type: "array", maxItems: LONG, items: { type: "object", properties: { text }, required: ["text"] } }
  const calls = Array.from({ length: 64 }, (_, i) => {
    const names = Array.from({ length: 20 }, (_, k) => `parameter_${k}_of_tool_${i}`)
    const properties = Object.fromEntries(names.map((name, k) => [name, k % 4 === 3 ? list : text]))
    const required = names.slice(0, 5)
    const parameters = JSON.stringify({ type: "object", properties, required, additionalProperties: false })
    return { begin: `{"name": "tool_${i}", "arguments": `, parameters, end: "}" }
  })
  const marks = { trigger: "<tool_call>", open: "\n", close: "\n</tool_call>", between: "\n" }
  return { type: "tools", param: "bench", calls, required: true, parallel: true, ...marks }
}

async function compileTools(): Promise<void> {
  const { trie } = await realVocabulary(positionals[0])
  const constraint = largeTools()
  const ms: number[] = []
  let bytes = 0
  let grown = 0
  let size = ""
  for (let run = 0; run < 6; run++) {
    Bun.gc(true)
    const before = process.memoryUsage()
    const begun = performance.now()
    const masks = compileConstraint(constraint, trie)
    masks.of(masks.automaton.start())
    ms.push(performance.now() - begun)
    if (run === 0) grown = process.memoryUsage().rss - before.rss
    Bun.gc(true)
    bytes = Math.max(bytes, process.memoryUsage().heapUsed - before.heapUsed)
    const { program, size: kept } = masks.automaton
    size = `${program.nNodes} nodes, ${kept.states} states, ${kept.rows} with transitions`
  }
  const [first = Number.NaN, ...later] = ms.map(Math.ceil)
  console.log(`64 large tools   ${first} ms the first time, ${quantile(later, 0.5)} ms later (median); ${size}`)
  console.log(`their memory     ${mib(bytes)}, and ${mib(grown)} while they are compiled the first time`)
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
const quantile = (list: readonly number[], q: number): number =>
  [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(q * list.length))] ?? Number.NaN

await compileTools()
if (values.only === "tools") process.exit(0)

await using model = await loadModel(await resolveModel(positionals[0] ?? "smollm2-135m"), {
  threads: Number(values.threads),
  ctxSize: 1024,
})
const max_tokens = Number(values.max_tokens)
const prompt_tokens = model.tokenizer.encode("Here is an example of such a document in JSON:\n")

interface Answer {
  text: string
  reason: string
  usage: Usage
  first_ms: number
}

async function say(engine: LoadedModel, id: string, changes: Partial<TextRequest>): Promise<Answer> {
  const sampling = { ...GREEDY, temperature: Number(values.temperature), seed: BigInt(SEED) }
  let text = ""
  for await (const event of generateText(engine, {
    id,
    promptTokens: prompt_tokens,
    sampling,
    maxTokens: max_tokens,
    stop: [],
    ...changes,
  })) {
    if (event.type === "text") text += event.text
    else return { text, reason: event.reason, usage: event.usage, first_ms: event.usage.prefillMs }
  }
  throw new Error("the answer has no end")
}

const perToken = ({ decodeMs: decode_ms, completionTokens: completion_tokens }: Usage): number =>
  decode_ms / (completion_tokens - 1)

await say(model, "warm", { maxTokens: 16 })
const started = performance.now()
await say(model, "warm too", { constraint: { type: "json_object", param: "bench" }, maxTokens: 16 })
const start_ms = performance.now() - started

/** Recursive schemas are excluded, since a model may never end under one; `tests/unit/engine/grammar` tests those. */
const containsItself = (schema: Schema): boolean => /"#\/\$defs\/node"|"#"/.test(JSON.stringify(schema))
const n_schemas = Number(values.schemas)
const schemas = sampleSchemas(2 * n_schemas, SEED, true)
  .filter((schema) => !containsItself(schema))
  .slice(0, n_schemas)
  .map((schema) => limited(schema) as Schema)
const constraintFor = (schema: Schema) => constraintOf({ type: "json_schema", schema }, "bench")

// All schemas at once: some requests run together, the rest are queued.
let faults = 0
let cut = 0
let tokens = 0
const begun = performance.now()
await Promise.all(
  (values.only === "time" ? [] : schemas).map(async (schema, i) => {
    const { text, reason, usage } = await say(model, `v${i}`, { constraint: constraintFor(schema), maxTokens: 900 })
    tokens += usage.completionTokens
    if (reason !== "stop") cut++
    const fault = reason === "stop" ? validatorFor(schema)(JSON.parse(text)) : undefined
    if (fault === undefined) return
    faults++
    console.error(`${JSON.stringify(schema)}\n  ${text}\n  ${fault}`)
  }),
)
const together_s = (performance.now() - begun) / 1000

// One schema after another, each followed by as many unconstrained tokens.
const ratios: number[] = []
const times = { constrained: [] as number[], free: [] as number[], waits: [] as number[] }
for (const [i, schema] of (values.only === "validate" ? [] : schemas).entries()) {
  const { usage, first_ms } = await say(model, `c${i}`, { constraint: constraintFor(schema) })
  const free = await say(model, `f${i}`, { maxTokens: usage.completionTokens, ignoreEos: true })
  times.waits.push(first_ms - free.first_ms)
  if (usage.completionTokens < 8) continue
  times.constrained.push(perToken(usage))
  times.free.push(perToken(free.usage))
  ratios.push(perToken(usage) / perToken(free.usage))
}

const ms = (value: number): string => `${value.toFixed(2)} ms`
const ratio = quantile(ratios, 0.5)
const worst = quantile(ratios, 0.9)
const { constrained, free, waits } = times
console.log(`model            ${model.name}, ${model.threads} threads, a vocabulary of ${model.tokenizer.vocabSize}`)
if (values.only !== "time") {
  const ended = `${schemas.length - cut} of ${schemas.length} ended, of which ${faults} do not validate`
  console.log(`answers          ${ended}; ${tokens} tokens in ${together_s.toFixed(0)} s`)
}
if (values.only !== "validate") {
  console.log(
    `for a token      ${ms(quantile(constrained, 0.5))} constrained, ${ms(quantile(free, 0.5))} free (medians)`,
  )
  console.log(`the two in pairs ${ratio.toFixed(3)} median, ${worst.toFixed(3)} in the worst tenth (allowed: ${MOST})`)
  console.log(
    `before the first ${ms(quantile(waits, 0.5))} longer (median), ${ms(quantile(waits, 0.9))} in the worst tenth`,
  )
}
console.log(`the very first   ${ms(start_ms)} with the thread's start and the vocabulary`)
process.exitCode = faults > 0 || ratio > MOST ? 1 : 0
