/** Numbers of any length and spelling, and the order of keys, in chat templates. Expected results are those of Python's Jinja. */

import { expect, test } from "bun:test"
import fc from "fast-check"
import { parseJson } from "../../../src/json.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"

const VALUE = parseJson(
  '{"z":1.0,"id":1234567890123456789,"n":-1234567890123456789,"2":"b","1":"a","zero":0.00,"small":7,"list":[1.50,2],"e":1E2}',
)

const render = (template: string, x: unknown = VALUE): string =>
  new ChatTemplate(template).render({ messages: [], extra: { x } })

const CASES: Record<string, string> = {
  "{{ x.z }} {{ x.id }} {{ x.zero }} {{ x.e }}": "1.0 1234567890123456789 0.00 1E2",
  "{{ x.z | string }}{{ x.id | string | length }}": "1.019",
  "{{ x.id ~ '/' ~ x.z }}": "1234567890123456789/1.0",
  "{{ x.list | tojson }} {{ x.list | join('+') }}": "[1.50, 2] 1.50+2",
  "{{ x.list | tojson(indent=1) }}": "[\n 1.50,\n 2\n]",
  "{% for k in x %}{{ k }} {% endfor %}": "z id n 2 1 zero small list e ",
  "{% for k, v in x.items() if v is number %}{{ k }}={{ v }} {% endfor %}":
    "z=1.0 id=1234567890123456789 n=-1234567890123456789 zero=0.00 small=7 e=1E2 ",
  "{{ x.id is integer }} {{ x.z is integer }} {{ x.z is number }} {{ x.z is string }}": "true false true false",
  "{{ 'yes' if x.zero else 'no' }} {{ 'yes' if x.z else 'no' }}": "no yes",
  "{{ x.id | int }} {{ x.z | int }}": "1234567890123456789 1",
  // Equal as doubles.
  "{{ x.id == 1234567890123456788 }} {{ x.id == x.id }} {{ x.id != x.n }}": "false true true",
  "{{ x.z == 1 }} {{ 1 == x.z }} {{ x.z == '1.0' }} {{ x.z != 'a' }} {{ x.z == true }}": "true true false true true",
  "{{ x.e == 100 }} {{ x.e > 99.5 }} {{ x.zero == 0 }} {{ x.zero < x.z }} {{ x.n < x.zero }} {{ x.z <= 1 }}":
    "true true true true true true",
  "{{ x.id + 1 }} {{ x.id - x.small }} {{ x.id * 10 }}": "1234567890123456790 1234567890123456782 12345678901234567890",
  "{{ x.id // 10 }} {{ x.id % 10 }} {{ x.n // 10 }} {{ x.n % 10 }} {{ x.n % (0 - 10) }}":
    "123456789012345678 9 -123456789012345679 1 -9",
  "{{ x.z + 1 }} {{ x.list[0] * 2 }} {{ x.e / 8 }}": "2.0 3.0 12.5",
  "{{ x.z in [1.0] or x.id and 'and' }}": "and",
}

for (const [template, expected] of Object.entries(CASES))
  test(template, () => {
    expect(render(template)).toBe(expected)
  })

test("integers of thousands of digits are calculated as doubles, which takes no time", () => {
  const x = parseJson(`{"a":${"7".repeat(5000)}}`)
  expect(render("{{ x.a * x.a }} {{ x.a == x.a }} {{ x.a > 1 }}", x)).toBe("Infinity true true")
  expect(render("{{ x.a // 0 }}", parseJson('{"a":12345678901234567890}'))).toBe("Infinity")
})

test("integers of any length are compared and calculated exactly", () => {
  const integer = fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n })
  const template = new ChatTemplate("{{ x.a < x.b }} {{ x.a == x.b }} {{ x.a >= x.b }} {{ x.a + x.b }} {{ x.a * x.b }}")
  const near = fc.tuple(integer, fc.bigInt({ min: -2n, max: 2n })).map(([a, d]) => [a, a + d] as const)
  fc.assert(
    fc.property(fc.oneof(near, fc.tuple(integer, integer)), ([a, b]) => {
      const written = parseJson(`{"a":${a},"b":${b}}`) as { a: unknown; b: unknown }
      if (typeof written.a === "number" && typeof written.b === "number") return
      const text = template.render({ messages: [], extra: { x: written } })
      expect(text).toBe(`${a < b} ${a === b} ${a >= b} ${a + b} ${a * b}`)
    }),
    { numRuns: 500 },
  )
})

test("fractions are compared exactly, whatever their spelling", () => {
  const order = (a: string, b: string) =>
    render("{{ 'less' if x.a < x.b else 'equal' if x.a == x.b else 'more' }}", parseJson(`{"a":${a},"b":${b}}`))
  const ascending = [
    "-1e400",
    "-2.0",
    "-1.50",
    "-1.0",
    "-1e-9",
    "0.0",
    "1e-400",
    "0.10",
    "1.0",
    "1.0000000000000000001",
    "2e0",
    "1e999",
  ]
  for (const [i, a] of ascending.entries())
    for (const [j, b] of ascending.entries()) expect(order(a, b)).toBe(i < j ? "less" : i === j ? "equal" : "more")
  for (const same of ["100.0", "1e2", "0.1e3", "1000E-1", "100.00000000000000000000"])
    expect(order("1.0e+2", same)).toBe("equal")
  expect(order("-0", "0.0")).toBe("equal")
})
