/** Random texts under JSON Schema validate, and masks agree with the automaton. */

import { describe, expect, test } from "bun:test"
import {
  accepts,
  compiled,
  isAllowed,
  randomNumbers,
  randomText,
  realVocabulary,
  tinyVocabulary,
} from "../../support/grammar.ts"
import { sampleSchemas, validatorFor } from "../../support/json-schemas.ts"

const tiny = tinyVocabulary()
const real = await realVocabulary()
const N_SCHEMAS = 250
/** The largest share of texts that do not end within the token limit. */
const MAX_UNFINISHED = 0.02

describe.each([
  ["bytes and a few pairs", tiny],
  ["SmolLM2's vocabulary", real],
] as const)("%s", (_, vocabulary) => {
  test(`texts allowed under ${N_SCHEMAS} schemas parse and validate`, () => {
    let unfinished = 0
    const common = new Map()
    for (const [i, schema] of sampleSchemas(N_SCHEMAS, 5).entries()) {
      const masks = compiled({ type: "json_schema", schema }, vocabulary.trie, common)
      const validate = validatorFor(schema)
      const random = randomNumbers(i)
      for (let run = 0; run < 3; run++) {
        const text = randomText(masks, vocabulary, random)
        if (text === undefined) unfinished++
        else expect({ schema, text, fault: faultOf(text, validate) }).toEqual({ schema, text, fault: undefined })
      }
    }
    expect(unfinished).toBeLessThanOrEqual(MAX_UNFINISHED * 3 * N_SCHEMAS)
  })

  test("a mask allows exactly the tokens that the automaton accepts", () => {
    for (const [i, schema] of sampleSchemas(40, 6).entries()) {
      const masks = compiled({ type: "json_schema", schema }, vocabulary.trie)
      const random = randomNumbers(i)
      const onState = (state: number) => {
        if (random() > 0.1) return
        const mask = masks.of(state)
        for (let token = 0; token < vocabulary.trie.nVocab; token++) {
          if (isAllowed(mask, token) !== masks.after(state, token) >= 0) {
            throw new Error(`token ${token} in a state of ${JSON.stringify(schema)}`)
          }
        }
      }
      randomText(masks, vocabulary, random, { patience: 12, limit: 60, onState })
    }
  })
})

function faultOf(text: string, validate: (value: unknown) => string | undefined): string | undefined {
  try {
    return validate(JSON.parse(text))
  } catch (error) {
    return String(error)
  }
}

test("JSON with common formatting is allowed", () => {
  const schema = {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 40 },
      age: { type: "integer", minimum: 0, maximum: 150 },
      tags: { type: "array", items: { type: "string" } },
    },
    required: ["name", "age"],
  }
  const masks = compiled({ type: "json_schema", schema }, real.trie)
  const value = { name: 'Zoë 😀 "Z" O\'Hara\n', age: 42, tags: ["a", "日本"] }
  for (const text of [
    JSON.stringify(value),
    JSON.stringify(value, undefined, 2),
    JSON.stringify(value, undefined, "\t"),
  ])
    expect(accepts(masks, real, text)).toBe(true)
  for (const text of [
    '{"name": "x"}',
    '{"name": "x", "age": 151}',
    '{"age": 1, "name": "x"}',
    '{"name": "x", "age": 1, }',
  ])
    expect(accepts(masks, real, text)).toBe(false)
  expect(accepts(masks, real, `{"name": "${"x".repeat(40)}", "age": 1}`)).toBe(true)
  expect(accepts(masks, real, `{"name": "${"x".repeat(41)}", "age": 1}`)).toBe(false)
})

test("json_object allows any object and nothing else", () => {
  const masks = compiled({ type: "json_object" }, real.trie)
  for (const text of ["{}", '{"a": [1, -2.5e3, {"b": null}], "\\u00e9": ""}', '{\n  "x": true\n}'])
    expect(accepts(masks, real, text)).toBe(true)
  for (const text of ["[]", "1", '{"a": 01}', '{"a": "\n"}', "{'a': 1}", '{"a": 1} '])
    expect(accepts(masks, real, text)).toBe(false)
})

test.each([
  [{ not: {} }, "no value is valid"],
  [{ type: "array", contains: { type: "string" }, maxContains: 2 }, "'contains' beside limits"],
  [
    { type: "object", properties: { a: { type: "array", not: { uniqueItems: true } } } },
    "'not' of a schema with 'uniqueItems' is not supported (in the schema at #/properties/a)",
  ],
  [
    JSON.parse('{"type": "object", "if": {"minProperties": 2, "uniqueItems": true}, "then": {"required": ["b"]}}'),
    "'if' of a schema with 'uniqueItems'",
  ],
  [{ type: "strnig" }, 'no type "strnig"'],
  [{ $ref: "#/$defs/none" }, "#/$defs/none, which does not exist"],
  [{ $ref: "https://example.com/schema" }, "to another schema"],
  [{ oneOf: [{ type: "integer" }, { type: "number" }] }, "'oneOf' of schemas that can be valid together"],
  [{ type: "string", pattern: "(?<=a)b" }, "looking behind"],
  [{ type: "string", pattern: "(a)\\1" }, "\\1"],
  [{ type: "string", minLength: 3, maxLength: 2 }, "above 'maxLength'"],
  [{ type: "string", pattern: "^a+$", format: "ipv4" }, "no value is valid"],
  [{ type: "integer", minimum: 3, maximum: 2 }, "no whole number"],
  [{ type: "integer", multipleOf: 7, minimum: 1, maximum: 6 }, "no whole number"],
  [{ type: "integer", multipleOf: 0 }, "'multipleOf' must be above 0"],
  [{ type: "number", exclusiveMinimum: 2, maximum: 2 }, "no number"],
  [{ enum: [] }, "'enum' must be a list"],
  [{ type: "string", enum: [1] }, "no value is valid"],
  [{ allOf: [{ type: "string" }, { type: "integer" }] }, "no value is valid"],
  [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, "no text of finite length"],
  [{ $ref: "#" }, "no text of finite length"],
  [{ type: "object", properties: { a: 1 } }, "an object or a boolean (in the schema at #/properties/a)"],
  [{ const: "x".repeat(200_000) }, "more than 200000 nodes"],
  [7, "an object or a boolean"],
] as const)("%j is refused, and the reason named", (schema, reason) => {
  expect(() => compiled({ type: "json_schema", schema: schema as never }, tiny.trie)).toThrow(reason)
})
