/** Ordinary types of zod and pydantic: random texts that the masks allow are valid by the library whose schema it is. */

import { expect, test } from "bun:test"
import { z } from "zod"
import { compiled, randomNumbers, randomText, tinyVocabulary } from "../../support/grammar.ts"
import { modelOf, zodTypes } from "../../support/library-types.ts"
import { SchemaOracle } from "../../support/schema-oracle.ts"

const tiny = tinyVocabulary()
const N_TEXTS = 20
/** Characters in order of preference, such that any text reaches its end, addresses too. */
const ENDINGS = [...'"]}@.', ..."01:,-\\ntfuleasr"]

/** Texts of tokens drawn from the mask alone, which is a temperature without limit. */
function textsFor(schema: unknown, seed: number): string[] {
  const masks = compiled({ type: "json_schema", schema: schema as never }, tiny.trie)
  const random = randomNumbers(seed)
  const texts: string[] = []
  for (let i = 0; texts.length < N_TEXTS && i < 3 * N_TEXTS; i++) {
    const text = randomText(masks, tiny, random, { patience: 40 + i, limit: 1500, endings: ENDINGS })
    if (text !== undefined) texts.push(text)
  }
  return texts
}

test.each(Object.keys(zodTypes))("zod: %s", (name) => {
  const model = modelOf(zodTypes[name] as z.ZodType)
  const texts = textsFor(z.toJSONSchema(model), 1)
  expect(texts.length).toBe(N_TEXTS)
  for (const text of texts) expect([text, model.safeParse(JSON.parse(text)).error?.issues]).toEqual([text, undefined])
})

test("pydantic", async () => {
  using oracle = new SchemaOracle()
  const schemas = await oracle.pydanticSchemas()
  expect(Object.keys(schemas).length).toBe(34)
  for (const [name, schema] of Object.entries(schemas)) {
    const texts = textsFor(schema, 2)
    expect([name, texts.length]).toEqual([name, N_TEXTS])
    const faults = (await oracle.pydantic(name, texts)).map((fault, i) => fault && [texts[i], fault]).filter(Boolean)
    expect([name, faults]).toEqual([name, []])
  }
})
