/** Schemas of tools that are not strict: only what cannot be kept is relaxed. And the forms that a tool's parameters may have. */

import { expect, test } from "bun:test"
import { constraintOf, type Form } from "../../../src/grammar/constraint.ts"
import { SchemaConverter } from "../../../src/grammar/json-schema.ts"
import { JsonRules } from "../../../src/grammar/json-text.ts"
import { parseJson } from "../../../src/json.ts"
import { accepts, compiled, tinyVocabulary } from "../../support/grammar.ts"

const tiny = tinyVocabulary()

/** The places that are relaxed, and whether the arguments of a call may be each of the texts. */
function lenient(schema: string, texts: readonly string[]): { relaxed: string[]; allowed: boolean[] } {
  const relaxed: string[] = []
  const onRelaxed = (place: string) => relaxed.push(place)
  new SchemaConverter(parseJson(schema), new JsonRules(), { isObject: true, onRelaxed }).convert()
  const call = { begin: "<", parameters: schema, lenient: true, end: ">" }
  const blocks = { trigger: "!", open: "", close: "", required: true, parallel: false }
  const masks = compiled({ type: "tools", calls: [call], ...blocks }, tiny.trie)
  return { relaxed, allowed: texts.map((text) => accepts(masks, tiny, `!<${text}>`)) }
}

test("a property that cannot be kept allows any value of its type, and its siblings stay", () => {
  const schema =
    '{"type":"object","properties":{"a":{"type":"string","pattern":"(x)\\\\1"},"b":{"type":"integer","maximum":5},"c":{"enum":["q"]}},"required":["a","b","c"],"additionalProperties":false}'
  const texts = [
    '{"a":"any","b":5,"c":"q"}',
    '{"a":1,"b":5,"c":"q"}',
    '{"a":"","b":6,"c":"q"}',
    '{"a":"","b":5,"c":"r"}',
  ]
  const { relaxed, allowed } = lenient(schema, texts)
  expect(allowed).toEqual([true, false, false, false])
  expect(relaxed).toHaveLength(1)
  expect(relaxed[0]).toContain("#/properties/a")
})

test("beside a keyword that cannot be kept, the others are", () => {
  const schema =
    '{"type":"object","properties":{"a":{"type":"array","items":{"type":"integer"},"contains":{"const":3},"maxContains":1}},"required":["a"],"additionalProperties":false}'
  const { relaxed, allowed } = lenient(schema, ['{"a":[1,2]}', '{"a":["x"]}', "{}"])
  expect(allowed).toEqual([true, false, false])
  expect(relaxed).toEqual([expect.stringContaining("'contains'")])
})

test("within alternatives, lists and definitions, only the part is relaxed", () => {
  const bad = '{"type":"string","pattern":"(?<=x)y"}'
  const schema = `{"type":"object","properties":{"u":{"anyOf":[${bad},{"type":"integer","minimum":3}]},"l":{"type":"array","items":{"$ref":"#/$defs/d"}}},"required":["u","l"],"additionalProperties":false,"$defs":{"d":{"type":"object","properties":{"x":${bad},"y":{"type":"null"}},"required":["x","y"],"additionalProperties":false}}}`
  const texts = [
    '{"u":"s","l":[]}',
    '{"u":3,"l":[{"x":"s","y":null}]}',
    '{"u":2,"l":[]}',
    '{"u":3,"l":[{"x":"s","y":1}]}',
  ]
  const { relaxed, allowed } = lenient(schema, texts)
  expect(allowed).toEqual([true, true, false, false])
  expect(relaxed).toHaveLength(2)
})

test("a schema without values is relaxed to any object", () => {
  const { relaxed, allowed } = lenient('{"not":{}}', ["{}", "1"])
  expect(allowed).toEqual([true, false])
  expect(relaxed).toEqual([expect.stringContaining("no value is valid")])
})

test("a condition that cannot be decided is left out, and nothing else", () => {
  const schema =
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false,"if":{"properties":{"a":{"multipleOf":3}},"uniqueItems":true},"then":{"required":["b"]}}'
  const { relaxed, allowed } = lenient(schema, ['{"a":3}', '{"a":"x"}', "{}"])
  expect(allowed).toEqual([true, false, false])
  expect(relaxed).toEqual([expect.stringContaining("'if'")])
})

test.each([
  ["{}", ["{}", '{"a":[1]}'], ["[]", "1", "null"]],
  ['{"properties":{"a":{"type":"integer"}}}', ["{}", '{"a":1}'], ['{"a":"x"}', "[]"]],
  [
    '{"anyOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]}',
    ['{"a":1}', '{"b":null}'],
    ["{}", "1"],
  ],
  [
    '{"$ref":"#/$defs/p","$defs":{"p":{"type":"object","properties":{"a":{"const":1}},"required":["a"]}}}',
    ['{"a":1}'],
    ["{}", '{"a":2}'],
  ],
  [
    '{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"]},{"type":"string"}]}',
    ['{"k":"a"}'],
    ['"x"', "{}"],
  ],
  ['{"type":["object","null"],"properties":{"a":{"const":1}},"required":["a"]}', ['{"a":1}'], ["null", "{}"]],
  [
    '{"type":"object","properties":{"id":{"const":9007199254740993},"n":{"enum":[1.0]}},"required":["id","n"]}',
    ['{"id":9007199254740993,"n":1.0}'],
    ['{"id":9007199254740992,"n":1.0}'],
  ],
] as const)("parameters may be %s", (schema, valid, invalid) => {
  const { relaxed, allowed } = lenient(schema, [...valid, ...invalid])
  expect(relaxed).toEqual([])
  expect(allowed).toEqual([...valid.map(() => true), ...invalid.map(() => false)])
})

test("a constraint carries its schema without annotations", () => {
  const form: Form = {
    type: "json_schema",
    schema: {
      title: "T",
      type: "object",
      properties: {
        title: { type: "string", description: "x".repeat(1000), "x-order": 1 },
        default: { const: { description: "kept" }, default: 5, examples: [1] },
      },
    },
  }
  expect(constraintOf(form, "f")).toEqual({
    type: "json_schema",
    param: "f",
    schema:
      '{"type":"object","properties":{"title":{"type":"string","x-order":1},"default":{"const":{"description":"kept"}}}}',
  })
})
