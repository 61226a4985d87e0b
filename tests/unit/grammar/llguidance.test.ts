/**
 * Masks against llguidance: under schemas in the style of public ones, random texts are accepted by both or by neither. CI takes a part of
 * them, always the same; `ROCMFORGE_SCHEMA_TEXTS=5000` takes a million.
 */

import { expect, test } from "bun:test"
import { accepts, compiled, randomNumbers, tinyVocabulary } from "../../support/grammar.ts"
import { textsNear } from "../../support/json-texts.ts"
import { publicSchemas } from "../../support/public-schemas.ts"
import { SchemaOracle } from "../../support/schema-oracle.ts"

const tiny = tinyVocabulary()
const N_TEXTS = Number(process.env.ROCMFORGE_SCHEMA_TEXTS ?? 100)
/** Of so many texts one is read with the masks before its tokens. The others are read without, which is quicker. */
const WITH_MASKS = 20

/**
 * Texts about which llguidance is stricter than JSON Schema, so that the library `jsonschema` decides: a zero with a sign between bounds,
 * and decimals that have fewer places than a bound (it refuses 0.7 between 0.25 and 0.75).
 */
const DECIDED_BY_JSONSCHEMA = /-0(?!\d)|\d\.\d/
/** Texts that are not compared: numbers beyond those that every parser reads, halves of characters, and the escape `\\/`, which it refuses. */
const NOT_COMPARED = /[eE][-+]?\d{3}|\\[u/]/

function verdicts(schema: object, texts: readonly string[]): boolean[] {
  const masks = compiled({ type: "json_schema", schema: schema as never }, tiny.trie)
  const { automaton } = masks
  return texts.map((text, i) => {
    if (automaton.isFull) masks.forget()
    if (i % WITH_MASKS === 0) return accepts(masks, tiny, text)
    let state = automaton.start()
    for (const token of tiny.tokenizer.encode(text)) {
      state = masks.after(state, token)
      if (state < 0) return false
    }
    return automaton.ends[state] === 1
  })
}

test(`${publicSchemas.length} schemas: ${N_TEXTS} random texts each are accepted as llguidance accepts them`, async () => {
  using oracle = new SchemaOracle()
  expect(publicSchemas.length).toBeGreaterThanOrEqual(200)
  const wrong: unknown[] = []
  let nAccepted = 0
  let nTexts = 0
  let nDecided = 0
  for (const [i, schema] of publicSchemas.entries()) {
    const texts = textsNear(schema, N_TEXTS, randomNumbers(i)).filter((text) => !NOT_COMPARED.test(text))
    const ours = verdicts(schema, texts)
    const theirs = await oracle.llguidance(schema, texts)
    if (!Array.isArray(theirs)) throw new Error(`${JSON.stringify(schema)}: ${theirs.error}`)
    const differing = texts.flatMap((text, k) => (ours[k] === theirs[k] ? [] : [{ text, ours: ours[k] }]))
    const numbers = differing.filter(({ text }) => DECIDED_BY_JSONSCHEMA.test(text))
    const valid = await oracle.jsonschema(
      schema,
      numbers.map(({ text }) => text),
    )
    const mistaken = numbers.filter((each, k) => each.ours !== valid[k])
    for (const each of [...differing.filter((each) => !numbers.includes(each)), ...mistaken]) wrong.push([schema, each])
    nAccepted += ours.filter(Boolean).length
    nTexts += texts.length
    nDecided += numbers.length
  }
  expect(wrong).toEqual([])
  // A fair share of both, and hardly any that another library has to decide.
  expect(nAccepted / nTexts).toBeGreaterThan(0.2)
  expect(nAccepted / nTexts).toBeLessThan(0.8)
  expect(nDecided / nTexts).toBeLessThan(0.01)
  if (N_TEXTS > 1000) console.log({ nTexts, nAccepted, nDecided })
}, 1_800_000) // A million texts take minutes.
