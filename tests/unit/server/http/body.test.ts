import { describe, expect, test } from "bun:test"
import fc from "fast-check"
import { exactOf, parseJson, parseWithExact, stringifyJson } from "../../../../src/json.ts"
import { checkStructure } from "../../../../src/server/http/body.ts"
import { ApiError } from "../../../../src/server/http/errors.ts"
import { LIMITS } from "../../../../src/server/http/limits.ts"

/** The error code with which a text is refused. */
function refusal(text: string): string | undefined {
  try {
    checkStructure(Buffer.from(text))
    return undefined
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return error.code ?? undefined
  }
}

const depthOf = (value: unknown): number =>
  typeof value === "object" && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0
const wrap = (value: unknown, levels: number): unknown =>
  levels === 0 ? value : wrap(levels % 2 === 0 ? [value] : { "[{:": value }, levels - 1)

/** Values whose strings and keys are full of JSON's own punctuation. */
const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom("[", "{", "]", "}", '"', "\\", ":", "é", "😀") }))
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    text,
    fc.double(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(text, tie("value"), { maxKeys: 4 }),
  ),
}))

describe("the depth of a JSON text", () => {
  test("equals the depth of the parsed value, whatever its strings contain", () => {
    fc.assert(
      fc.property(value, fc.constantFrom(undefined, 2), (inner, indent) => {
        const room = LIMITS.depth - depthOf(inner)
        const fits = JSON.stringify(wrap(inner, room), null, indent)
        const deeper = JSON.stringify(wrap(inner, room + 1), null, indent)
        expect([refusal(fits), refusal(deeper)]).toEqual([undefined, "json_too_deep"])
      }),
      { numRuns: 500 },
    )
  })

  test("is counted without an error for a text that is not JSON", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        checkStructure(bytes)
      }),
    )
    for (const text of ["", '"', '"\\', "]]]]", "{{{", ":::"]) expect(refusal(text)).toBeUndefined()
  })
})

test("lists, objects and fields are counted up to the limit", () => {
  const lists = (count: number) => `[${"[],".repeat(count - 2)}[]]`
  expect([refusal(lists(LIMITS.nodes)), refusal(lists(LIMITS.nodes + 1))]).toEqual([undefined, "request_too_large"])
  const fields = (count: number) => `{${'"a":1,'.repeat(count - 2)}"b":":"}`
  expect([refusal(fields(LIMITS.nodes)), refusal(fields(LIMITS.nodes + 1))]).toEqual([undefined, "request_too_large"])
})

test("numbers of unusual spelling are counted with them", () => {
  const numbers = (count: number) => `{"a":[${"1.0,".repeat(count - 1)}1.0]}`
  expect([refusal(numbers(LIMITS.nodes - 3)), refusal(numbers(LIMITS.nodes))]).toEqual([undefined, "request_too_large"])
  expect(refusal(`{"a":[${"123456,".repeat(LIMITS.nodes)}1]}`)).toBeUndefined()
})

/** JSON text with numbers of every spelling, and keys like indices. */
const digits = fc
  .integer({ min: 0, max: 30 })
  .chain((length) =>
    fc.string({ unit: fc.constantFrom("0", "0", "1", "5", "9"), minLength: length, maxLength: length }),
  )
const number = fc
  .tuple(
    fc.constantFrom("", "", "-"),
    fc.oneof(
      fc.constant("0"),
      digits.map((text) => `7${text}`),
    ),
    digits,
    fc.constantFrom("", "", "", "e5", "E-2", "e+300"),
  )
  .map(([sign, whole, fraction, power]) => sign + whole + (fraction === "" ? "" : `.${fraction}`) + power)
const key = fc.oneof(text, fc.constantFrom("0", "1", "2", "10", "01", "4294967295", "99999999999", "1.0", "-1"))
const { json } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { depthSize: "small" },
    number,
    fc.constantFrom("true", "null"),
    text.map((value) => JSON.stringify(value)),
    fc.array(tie("json"), { maxLength: 4 }).map((items) => `[${items}]`),
    fc
      .uniqueArray(fc.tuple(key, tie("json")), { maxLength: 4, selector: ([key]) => key })
      .map((entries) => `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${value}`)}}`),
  ),
}))

describe("what JavaScript's parser loses", () => {
  test("is found by the check of the structure, in every list and object of a body", () => {
    fc.assert(
      fc.property(json, (inner) => {
        const body = `{"a":[${inner}]}`
        const inexact = checkStructure(Buffer.from(body))
        const { a } = (inexact ? parseWithExact(body) : JSON.parse(body)) as { a: unknown[] }
        expect(stringifyJson(exactOf(a))).toBe(`[${inner}]`)
        expect(JSON.stringify(a)).toBe(JSON.stringify((JSON.parse(body) as { a: unknown[] }).a))
      }),
      { numRuns: 5000 },
    )
  })

  test("is kept by the exact parser", () => {
    fc.assert(
      fc.property(json, (text) => {
        expect(stringifyJson(parseJson(text))).toBe(text)
      }),
      { numRuns: 5000 },
    )
  })

  test("is nothing in ordinary numbers", () => {
    for (const text of [
      "[[1,-2,0.5,123456.789,0.000001,100,999999999999999]]",
      '{"a":{"b":0,"c1":-10}}',
      '{"t":1.0,"7":1e3}',
    ])
      expect(checkStructure(Buffer.from(text))).toBe(false)
  })
})
