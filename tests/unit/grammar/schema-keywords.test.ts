/** What each keyword of JSON Schema allows and does not, with the verdicts of Python's library `jsonschema`. */

import { expect, test } from "bun:test"
import { parseJson } from "../../../src/json.ts"
import { accepts, compiled, tinyVocabulary } from "../../support/grammar.ts"
import { SchemaOracle } from "../../support/schema-oracle.ts"

const tiny = tinyVocabulary()

/** A schema as JSON, texts that it allows, and texts that it does not. */
type Case = readonly [schema: string, valid: readonly string[], invalid: readonly string[]]

const CASES: readonly Case[] = [
  // Numbers
  ['{"type":"integer"}', ["0", "-7", "1234567890123456789012345678901234567890"], ["1.5", '"1"', "01", "--1"]],
  [
    '{"type":"integer","minimum":9007199254740993}',
    ["9007199254740993", "10000000000000000"],
    ["9007199254740992", "-1"],
  ],
  ['{"type":"integer","minimum":-5,"maximum":12}', ["-5", "-1", "0", "9", "12"], ["-6", "13", "100"]],
  ['{"type":"integer","exclusiveMinimum":-1.5,"exclusiveMaximum":3}', ["-1", "2"], ["-2", "3"]],
  [
    '{"type":"integer","maximum":1e400}',
    [`1${"0".repeat(400)}`, `-${"9".repeat(250)}`],
    [`1${"0".repeat(399)}1`.replace("1", "2")],
  ],
  ['{"type":"integer","minimum":0,"exclusiveMinimum":true,"maximum":5}', ["1", "5"], ["0", "6"]],
  ['{"type":"integer","multipleOf":7}', ["0", "-14", "700000000007"], ["1", "-13", "700000000008"]],
  ['{"type":"integer","multipleOf":86400,"minimum":1}', ["86400", "864000"], ["0", "86401", "8640"]],
  ['{"type":"integer","multipleOf":999999,"minimum":5,"maximum":3000000}', ["999999", "2999997"], ["0", "3999996"]],
  [
    '{"type":"number","multipleOf":0.01,"minimum":0,"maximum":10}',
    ["0", "0.07", "9.99", "10", "1.10"],
    ["0.071", "10.01", "-1"],
  ],
  ['{"type":"number","multipleOf":0.25}', ["0.25", "-1.5", "3", "3.00"], ["0.3", "1.125"]],
  ['{"type":"number","multipleOf":5}', ["5", "-10", "5.0", "0"], ["1", "2.5", "5.5"]],
  [
    '{"type":"number"}',
    ["1.0", "12345678901.25", "1e300", "-2.5E-3", "0.1000000000000000055511151231257827"],
    [".5", "1.", "+1", "1e"],
  ],
  [
    '{"type":"number","minimum":0}',
    ["0", "0.0", "12345678901.25", "19999.99", "0.00000000000000000001"],
    ["-1", "-0.5"],
  ],
  ['{"type":"number","minimum":0.5,"exclusiveMaximum":2}', ["0.5", "0.50", "1.99", "1"], ["0.49", "2", "2.0", "0"]],
  ['{"type":"number","minimum":-1.25,"maximum":-0.5}', ["-1.25", "-0.5", "-1"], ["-1.26", "-0.49", "0", "1"]],
  ['{"const":1234567890123456789}', ["1234567890123456789"], ["1234567890123456800", "1"]],
  ['{"const":1.0}', ["1.0"], ["2", "1.1"]],
  ['{"type":"integer","enum":[1.0,2.5,"3",4]}', ["1.0", "4"], ["2.5", '"3"', "5"]],
  ['{"enum":[1,2,3,null,"x"],"maximum":2}', ["1", "2", "null", '"x"'], ["3"]],
  // Constants
  ['{"const":{"b":[1,{"a":null}],"a":"\\"\\n"}}', ['{"b":[1,{"a":null}],"a":"\\"\\n"}'], ["{}", '{"b":[1],"a":""}']],
  ['{"const":{"2":1,"1":2}}', ['{"2":1,"1":2}'], ['{"2":1}']],
  ['{"enum":["a",["b"],false]}', ['"a"', '["b"]', "false"], ["true", '"b"', "[]"]],
  // Strings
  ['{"type":"string","pattern":"b"}', ['"b"', '"abc"', '"\\nb"'], ['""', '"ac"']],
  ['{"type":"string","pattern":"^a|b$"}', ['"a"', '"ax"', '"xb"'], ['""', '"xax"', '"bx"']],
  ['{"type":"string","pattern":"^(?!admin)[a-z]+$"}', ['"user"', '"adm"'], ['"admin"', '"administrator"', '"A"']],
  [
    '{"type":"string","pattern":"^(?=.*\\\\d)(?=.*[a-z]).{4,8}$"}',
    ['"abc1"', '"1a--"'],
    ['"abcd"', '"1234"', '"a1"', '"a1_______"'],
  ],
  ['{"type":"string","pattern":"^\\\\p{Lu}\\\\p{Ll}+$"}', ['"Ärger"', '"Ab"'], ['"ab"', '"AB"']],
  ['{"type":"string","pattern":"^[a-z]+$","minLength":2,"maxLength":3}', ['"ab"', '"abc"'], ['"a"', '"abcd"', '"A"']],
  ['{"type":"string","pattern":"a.*b","maxLength":4}', ['"ab"', '"axxb"', '"xabx"'], ['"a"', '"axxxb"', '"ba"']],
  ['{"type":"string","minLength":2,"maxLength":2}', ['"ab"', '"😀\\n"', '"\\u00e9\\ud83d\\ude00"'], ['"a"', '"abc"']],
  ['{"type":"string","maxLength":1000000}', ['""', '"abc"'], ["1"]],
  ['{"type":"string","format":"ipv4","pattern":"^10\\\\."}', ['"10.0.0.1"'], ['"11.0.0.1"', '"10.0.0.256"']],
  [
    '{"type":"string","format":"date-time"}',
    ['"2024-02-29T23:59:59Z"', '"2023-01-01T00:00:00.5+01:30"'],
    ['"2023-02-29T00:00:00Z"', '"2023-01-01"', '"2023-13-01T00:00:00Z"'],
  ],
  ['{"type":"string","format":"time"}', ['"12:00:00Z"'], ['"25:00:00Z"', '"12:00"']],
  ['{"type":"string","format":"date"}', ['"2024-02-29"'], ['"2023-02-29"', '"2023-1-1"']],
  [
    '{"type":"string","format":"duration"}',
    ['"P1Y2M3D"', '"PT5M"', '"P3W"', '"P1DT12H"'],
    ['"P"', '"PT"', '"1D"', '"P1"'],
  ],
  ['{"type":"string","format":"email"}', ['"a.b@example.com"'], ['"a"', '"a@"', '"@example.com"']],
  ['{"type":"string","format":"hostname"}', ['"a"', '"www.example.com"'], ['"-a"', '"a..b"', '""']],
  [
    '{"type":"string","format":"ipv6"}',
    ['"::1"', '"2001:db8::8a2e:370:7334"', '"1:2:3:4:5:6:7:8"', '"::ffff:1.2.3.4"'],
    ['"1:2"', '":::"', '"1:2:3:4:5:6:7:8:9"', '"12345::"'],
  ],
  ['{"type":"string","format":"uuid"}', ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567"']],
  [
    '{"type":"string","format":"uri"}',
    ['"https://example.com/a?b=c#d"', '"mailto:a@b.c"'],
    ['"a b"', '"/path"', '"http://"'],
  ],
  ['{"type":"string","format":"uri-reference"}', ['"/a/b"', '"https://example.com"', '"#x"'], ['"a b"', '"%zz"']],
  ['{"type":"string","format":"json-pointer"}', ['""', '"/a~1b/0"'], ['"a"', '"/~2"']],
  ['{"type":"string","format":"no-such-format"}', ['"anything"'], ["1"]],
  [
    '{"type":"string","contentMediaType":"application/json","contentSchema":{"type":"integer"}}',
    ['"12"', '"-3"'],
    ["1"],
  ],
  // Objects
  [
    '{"type":"object","properties":{"a":{"type":"null"},"b":{}},"required":["b"],"additionalProperties":false}',
    ['{"b":1}', '{"a":null,"b":[]}', '{ "b": {} }'],
    ["{}", '{"a":null}', '{"a":1,"b":1}', '{"b":1,"c":1}'],
  ],
  [
    '{"type":"object","properties":{"10":{"type":"null"},"9":{"type":"null"}},"required":["10","9"],"additionalProperties":false}',
    ['{"10":null,"9":null}'],
    ["{}"],
  ],
  [
    '{"type":"object","properties":{"a":false,"b":{"type":"null"}},"additionalProperties":{"type":"integer"}}',
    ["{}", '{"b":null,"c":1}'],
    ['{"a":1}', '{"c":null}', '{"b":1}'],
  ],
  [
    '{"type":"object","additionalProperties":{"type":"null"},"propertyNames":{"pattern":"^x"}}',
    ["{}", '{"x":null,"xy":null}'],
    ['{"a":null}', '{"x":1}'],
  ],
  [
    '{"type":"object","additionalProperties":{"type":"integer"},"propertyNames":{"enum":["a","b"]}}',
    ["{}", '{"a":1,"b":2}', '{"b":2}'],
    ['{"c":1}', '{"a":null}'],
  ],
  [
    '{"type":"object","additionalProperties":true,"propertyNames":{"minLength":2,"maxLength":3}}',
    ['{"ab":1}'],
    ['{"a":1}', '{"abcd":1}'],
  ],
  [
    '{"type":"object","patternProperties":{"^s":{"type":"string"},"d$":{"maxLength":1}},"additionalProperties":false}',
    ["{}", '{"s":"long"}', '{"sd":"x"}', '{"d":"x"}'],
    ['{"s":1}', '{"sd":"xx"}', '{"a":1}'],
  ],
  [
    '{"type":"object","patternProperties":{"^s":{"type":"string"}},"additionalProperties":{"type":"null"}}',
    ['{"s":"x","t":null}'],
    ['{"s":null}', '{"t":"x"}'],
  ],
  [
    '{"type":"object","additionalProperties":{"type":"null"},"minProperties":1,"maxProperties":2}',
    ['{"a":null}', '{"a":null,"b":null}'],
    ["{}", '{"a":null,"b":null,"c":null}'],
  ],
  [
    '{"type":"object","properties":{"a":{},"b":{},"c":{}},"minProperties":2,"additionalProperties":false}',
    ['{"a":1,"c":1}', '{"a":1,"b":1,"c":1}'],
    ["{}", '{"b":1}'],
  ],
  [
    '{"type":"object","properties":{"a":{},"b":{},"c":{}},"required":["c"],"maxProperties":2,"additionalProperties":false}',
    ['{"c":1}', '{"a":1,"c":1}'],
    ["{}", '{"a":1,"b":1,"c":1}', '{"a":1,"b":1}'],
  ],
  [
    '{"type":"object","properties":{"a":{},"b":{}},"dependentRequired":{"a":["b"]},"additionalProperties":false}',
    ["{}", '{"b":1}', '{"a":1,"b":1}'],
    ['{"a":1}'],
  ],
  [
    '{"type":"object","properties":{"a":{},"b":{}},"dependentSchemas":{"a":{"properties":{"b":{"const":1}},"required":["b"]}},"additionalProperties":false}',
    ["{}", '{"b":2}', '{"a":1,"b":1}'],
    ['{"a":1,"b":2}', '{"a":1}'],
  ],
  [
    '{"allOf":[{"type":"object","properties":{"a":{}},"required":["a"]},{"type":"object","properties":{"b":{"type":"null"}}}],"unevaluatedProperties":false}',
    ['{"a":1}', '{"a":1,"b":null}'],
    ['{"b":null}', '{"a":1,"b":1}', '{"a":1,"c":1}'],
  ],
  // Lists
  [
    '{"type":"array","items":{"type":"null"},"minItems":1,"maxItems":3}',
    ["[null]", "[null,null,null]"],
    ["[]", "[1]", "[null,null,null,null]"],
  ],
  [
    '{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}],"items":false,"minItems":2}',
    ['["a",1]'],
    ["[]", '["a"]', '["a",1,2]', "[1,1]"],
  ],
  [
    '{"type":"array","items":[{"type":"null"}],"additionalItems":{"type":"integer"}}'
      .replace('"items"', '"prefixItems"')
      .replace("additionalItems", "items"),
    ["[]", "[null]", "[null,1,2]"],
    ["[1]", "[null,null]"],
  ],
  [
    '{"type":"array","items":{"enum":["a","b",1]},"uniqueItems":true,"minItems":1}',
    ['["a"]', '["b",1,"a"]'],
    ["[]", '["a","a"]', '["c"]'],
  ],
  ['{"type":"array","items":{"type":"integer"},"contains":{"minimum":5}}', ["[5]", "[1,7,2]"], ["[]", "[1,2]"]],
  [
    '{"type":"array","items":{"type":"integer"},"contains":{"minimum":5},"minContains":2}',
    ["[5,6]", "[1,7,2,9]"],
    ["[]", "[7]"],
  ],
  // Combinations
  ['{"anyOf":[{"type":"string"},{"type":"integer"}]}', ['"a"', "1"], ["null", "1.5"]],
  ['{"type":["string","null"],"minLength":2}', ["null", '"ab"'], ['"a"', "1"]],
  [
    '{"oneOf":[{"type":"object","properties":{"k":{"const":"a"}},"required":["k"],"additionalProperties":false},{"type":"object","properties":{"k":{"const":"b"}},"required":["k"],"additionalProperties":false}],"discriminator":{"propertyName":"k"}}',
    ['{"k":"a"}', '{"k":"b"}'],
    ['{"k":"c"}', "{}"],
  ],
  [
    '{"type":"object","properties":{"a":{},"b":{}},"additionalProperties":false,"oneOf":[{"required":["a"]},{"required":["b"]}]}',
    ['{"a":1}', '{"b":1}'],
    ["{}", '{"a":1,"b":1}'],
  ],
  ['{"oneOf":[{"type":"integer","maximum":5},{"type":"integer","minimum":3}]}', ["2", "6"], ["3", "5", "1.5"]],
  ['{"allOf":[{"type":"integer","minimum":3},{"maximum":5},{"multipleOf":2}]}', ["4"], ["2", "5", "6"]],
  ['{"allOf":[{"enum":[1,2,3]},{"enum":[2,3,4]}]}', ["2", "3"], ["1", "4"]],
  ['{"type":"string","allOf":[{"pattern":"^a"},{"pattern":"b$"}]}', ['"ab"', '"axb"'], ['"a"', '"b"']],
  ['{"type":"string","not":{"enum":["a","b"]}}', ['"c"', '""', '"ab"'], ['"a"', '"b"', "1"]],
  ['{"type":"string","not":{"pattern":"^_"}}', ['"a_"'], ['"_"', '"_a"']],
  ['{"not":{"type":["string","number"]}}', ["null", "[]", "true"], ['"a"', "1", "1.5"]],
  ['{"type":"integer","not":{"const":5}}', ["4", "15", "-5"], ["5", "1.5"]],
  ['{"type":"integer","not":{"minimum":3,"maximum":7}}', ["2", "8"], ["3", "7"]],
  ['{"type":["boolean","null"],"not":{"const":true}}', ["false", "null"], ["true"]],
  [
    '{"type":"object","properties":{"kind":{"enum":["a","b"]},"n":{"type":"integer"}},"required":["kind"],"additionalProperties":false,"if":{"properties":{"kind":{"const":"a"}},"required":["kind"]},"then":{"required":["n"]},"else":{"properties":{"n":false}}}',
    ['{"kind":"a","n":1}', '{"kind":"b"}'],
    ['{"kind":"a"}', '{"kind":"b","n":1}', "{}"],
  ],
  // References
  ['{"$ref":"#/$defs/a%20b~1c","$defs":{"a b/c":{"type":"integer"}}}', ["1"], ['"a"']],
  ['{"$ref":"#/$defs/n","minimum":3,"$defs":{"n":{"type":"integer","maximum":5}}}', ["3", "5"], ["2", "6"]],
  ['{"$ref":"#item","$defs":{"x":{"$anchor":"item","type":"null"}}}', ["null"], ["1"]],
  [
    '{"$id":"https://example.com/root","$ref":"item","$defs":{"x":{"$id":"item","$ref":"#/$defs/y","$defs":{"y":{"type":"null"}}}}}',
    ["null"],
    ["1"],
  ],
  [
    '{"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{"v":{"type":"integer"},"l":{"type":"array","items":{"$ref":"#/$defs/tree"}}},"required":["v"],"additionalProperties":false}}}',
    ['{"v":1}', '{"v":1,"l":[{"v":2,"l":[]}]}'],
    ["{}", '{"v":1,"l":[1]}'],
  ],
  [
    '{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],"$defs":{"a":{"type":"object","properties":{"x":{"type":"integer"},"n":{"$ref":"#/$defs/a"}}},"b":{"type":"object","properties":{"x":{"minimum":3},"n":{"$ref":"#/$defs/b"}}}}}',
    ['{"x":3}', '{"x":4,"n":{"x":5,"n":{}}}'],
    ['{"x":2}', '{"n":{"x":1}}'],
  ],
]

test("each keyword allows the texts that are valid and no other", async () => {
  using oracle = new SchemaOracle()
  const wrong: unknown[] = []
  for (const [text, valid, invalid] of CASES) {
    const schema = parseJson(text)
    // The library does not know draft 4's exclusive bounds, classes of Unicode and what a string holds, and checks few formats.
    const isKnown = !/"exclusiveMinimum":true|"format"|\\\\p|contentSchema/.test(text)
    const expected = [...valid.map(() => true), ...invalid.map(() => false)]
    if (isKnown) {
      const verdicts = await oracle.jsonschema(schema, [...valid, ...invalid])
      const differing = [...valid, ...invalid].filter((_, i) => verdicts[i] !== expected[i])
      if (differing.length > 0) wrong.push([text, "the library disagrees", differing])
    }
    const masks = compiled({ type: "json_schema", schema: schema as never }, tiny.trie)
    for (const [i, each] of [...valid, ...invalid].entries())
      if (accepts(masks, tiny, each) !== expected[i]) wrong.push([text, each, `should be ${expected[i]}`])
  }
  expect(wrong).toEqual([])
})

test("OpenAPI's nullable adds null", () => {
  const allows = (schema: object, text: string) =>
    accepts(compiled({ type: "json_schema", schema: schema as never }, tiny.trie), tiny, text)
  const $defs = { a: { type: "object", properties: { x: { type: "integer" } }, required: ["x"] } }
  for (const schema of [
    { type: "object", properties: { x: { type: "integer" } }, required: ["x"], nullable: true },
    { $ref: "#/$defs/a", nullable: true, $defs },
    { allOf: [{ $ref: "#/$defs/a" }], nullable: true, $defs },
  ]) {
    expect([schema, allows(schema, "null")]).toEqual([schema, true])
    expect([schema, allows(schema, '{"x":1}')]).toEqual([schema, true])
    expect([schema, allows(schema, "{}")]).toEqual([schema, false])
  }
  expect(allows({ type: "string", enum: ["a"], nullable: true }, "null")).toBe(true)
})
