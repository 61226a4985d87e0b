#!/usr/bin/env bun
/**
 * Ordinary types of zod and pydantic on a real model: for each type, texts are generated under its schema at temperature 1.2 and validated
 * by the library itself. Prints a table, and exits with 1 when a complete text is not valid, or when fewer than half as many as wanted ended by themselves.
 * Needs the Python packages that `npm run setup -- --dev` installs.
 *
 *     bun tests/bench/schemas.ts [MODEL] [--texts 20] [--temperature 1.2] [--max_tokens 160] [--library zod|pydantic] [--only TYPE]
 */

import { parseArgs } from "node:util"
import { z } from "zod"
import { loadModel } from "../../src/engine/load.ts"
import { generateText } from "../../src/engine/text.ts"
import { GREEDY } from "../../src/engine/types.ts"
import { constraintOf } from "../../src/grammar/constraint.ts"
import { resolveModel } from "../../src/store/resolve.ts"
import { modelOf, zodTypes } from "../support/library-types.ts"
import { SchemaOracle } from "../support/schema-oracle.ts"

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    texts: { type: "string", default: "20" },
    temperature: { type: "string", default: "1.2" },
    max_tokens: { type: "string", default: "160" },
    library: { type: "string" },
    only: { type: "string" },
  },
})
const n = Number(values.texts)
await using model = await loadModel(await resolveModel(positionals[0] ?? "smollm2-135m"), { threads: 2, ctxSize: 4096 })
using oracle = new SchemaOracle()

/** Most rounds of texts, until enough have ended by themselves. */
const MAX_ROUNDS = 4

/** Texts that ended by themselves, and the number of those that were cut off. */
async function generate(name: string, schema: Record<string, unknown>): Promise<{ texts: string[]; cut: number }> {
  const ended: string[] = []
  let cut = 0
  for (let round = 0; round < MAX_ROUNDS && ended.length < n; round++) {
    ended.push(...(await generateRound(name, schema, n - ended.length, BigInt(11 + round))))
    cut += n - ended.length
  }
  return { texts: ended, cut }
}

async function generateRound(
  name: string,
  schema: Record<string, unknown>,
  n: number,
  seed: bigint,
): Promise<string[]> {
  const prompt = `Here is an example of a JSON document with the field "f", of the type ${name}:\n`
  const texts = Array.from({ length: n }, () => "")
  const ended: string[] = []
  for await (const event of generateText(model, {
    id: name,
    promptTokens: model.tokenizer.encode(prompt),
    sampling: { ...GREEDY, temperature: Number(values.temperature), seed },
    maxTokens: Number(values.max_tokens),
    stop: [],
    n,
    constraint: constraintOf({ type: "json_schema", schema }, "bench"),
  })) {
    if (event.type === "text") texts[event.index] += event.text
    else if (event.reason === "stop") ended.push(texts[event.index] as string)
  }
  return ended
}

type Check = (texts: readonly string[]) => Promise<(string | null)[]>

let failed = 0
async function report(library: string, name: string, schema: Record<string, unknown>, check: Check): Promise<void> {
  if ((values.only ?? name) !== name || (values.library ?? library) !== library) return
  const { texts, cut } = await generate(name, schema)
  const faults = (await check(texts)).map((fault, i) => fault && `${texts[i]}: ${fault}`).filter(Boolean)
  const isGood = faults.length === 0 && texts.length >= n / 2
  if (!isGood) failed++
  const row = [library, name, `${texts.length - faults.length}/${texts.length} valid`, cut > 0 ? `${cut} cut off` : ""]
  console.log(`| ${[...row, isGood ? "ok" : "FAILED", JSON.stringify(texts[0]?.slice(0, 60) ?? "")].join(" | ")} |`)
  for (const fault of faults.slice(0, 3)) console.log(`    ${fault}`)
}

console.log("| library | type | valid | cut off | | first text |\n|---|---|---|---|---|---|")
for (const [name, type] of Object.entries(zodTypes)) {
  const whole = modelOf(type)
  await report("zod", name, z.toJSONSchema(whole), async (texts) =>
    texts.map((text) => whole.safeParse(JSON.parse(text)).error?.message ?? null),
  )
}
for (const [name, schema] of Object.entries(await oracle.pydanticSchemas()))
  await report("pydantic", name, schema, (texts) => oracle.pydantic(name, texts))
console.log(failed === 0 ? "every type: ok" : `${failed} types failed`)
process.exitCode = failed === 0 ? 0 : 1
