import { describe, expect, test } from "bun:test"
import {
  entriesOf,
  exactNumber,
  exactOf,
  isRawNumber,
  keysOf,
  numberText,
  objectOf,
  parseJson,
  parseWithExact,
  stringifyJson,
} from "../../src/json.ts"

describe("JSON without loss", () => {
  const exact = [
    '{"id":1234567890123456789,"z":1.0,"2":"b","1":"a"}',
    "[1e2,-0,0.10,100000000000000000000000,-1.50,1E-7,0.1234567890123456789]",
    '{"a":{"10":1,"9":[{"3":null,"2":true}]},"__proto__":{"1":1}}',
    '"1.0 and 1234567890123456789, \\"2\\":"',
    '{"a\\"2\\":":[],"b":{},"":""}',
    "1234567890123456789",
    "[123456789.123456789,0.0000001,-0.0000001,0.1e1,-0.0,1234567890123456,99999999999999999.5,[1e999]]",
    '{"toJSON":1,"2":{"3":0,"1":0},"1":2}',
    `["${"a\\\\n".repeat(1 << 20)}\\"",1.0]`,
  ]
  for (const text of exact)
    test(`${text.slice(0, 50)} is written as it was read`, () => {
      expect(stringifyJson(parseJson(text)) === text).toBe(true)
      expect(stringifyJson(exactOf(parseWithExact(text))) === text || /^\d/.test(text)).toBe(true)
    })

  test("JavaScript's own writer keeps numbers and the order of keys too", () => {
    const text = '{"x":[{"z":1.0,"2":{"20":1,"10":12345678901234567890},"1":"a"}]}'
    expect(JSON.stringify(parseJson(text))).toBe(text)
    expect(JSON.stringify(parseJson('{"b":1,"2":2.0}'), null, 1)).toBe('{\n "b": 1,\n "2": 2.0\n}')
    expect(keysOf(parseJson('{"\\u0032":1,"1":2}') as object)).toEqual(["2", "1"])
  })

  test("a value read as JavaScript reads it gives its parts without loss", () => {
    const body = parseWithExact(
      '{"t":1.0,"same":{"a":[1,2.5]},"tools":[{"p":{"max":9223372036854775807}},{"p":{"max":1}}]}',
    )
    const { t, same, tools } = body as { t: number; same: object; tools: { p: { max: unknown } }[] }
    expect(t).toBe(1)
    expect(tools[0]?.p).toEqual({ max: 2 ** 63 })
    expect(stringifyJson(exactOf(tools[0]?.p))).toBe('{"max":9223372036854775807}')
    expect(stringifyJson(exactOf(tools))).toBe('[{"p":{"max":9223372036854775807}},{"p":{"max":1}}]')
    expect(exactOf(same)).toBe(same)
    expect(exactOf(tools[1]?.p)).toBe(tools[1]?.p)
    expect(exactOf("text")).toBe("text")
  })

  test("of repeated keys, only what the last value loses is kept", () => {
    for (const text of [
      '{"a":{"x":1.0},"a":{"x":1}}',
      '{"a":{"b":{"x":1.0}},"a":{"b":5}}',
      '{"a":[[1.0]],"a":[[2]]}',
    ]) {
      const { a } = parseWithExact(text) as { a: object }
      expect(exactOf(a)).toBe(a)
    }
    const { a } = parseWithExact('{"a":5,"a":{"x":1.0},"a":{"y":[2.0]}}') as { a: { y: object } }
    expect(stringifyJson(exactOf(a))).toBe('{"y":[2.0]}')
    expect(stringifyJson(exactOf(a.y))).toBe("[2.0]")
  })

  test("numbers that a double keeps are ordinary numbers", () => {
    expect(parseJson('[1,2.5,-3,{"2":0.5}]')).toEqual([1, 2.5, -3, { 2: 0.5 }])
    expect(isRawNumber(exactNumber("12"))).toBe(false)
    expect(isRawNumber(exactNumber("12.0"))).toBe(true)
    expect(numberText(exactNumber("9007199254740993"))).toBe("9007199254740993")
    expect([exactNumber("9007199254740991"), isRawNumber(exactNumber("9007199254740992"))]).toEqual([2 ** 53 - 1, true])
    expect(numberText("1")).toBeUndefined()
  })

  test("of repeated keys the last value counts, at the place of the first", () => {
    expect(stringifyJson(parseJson('{"2":1,"1":2,"2":3.0}'))).toBe('{"2":3.0,"1":2}')
  })

  test("keys keep their order", () => {
    const object = objectOf([
      ["b", 1],
      ["2", 2],
      ["1", 3],
    ])
    expect(keysOf(object)).toEqual(["b", "2", "1"])
    expect(entriesOf(object)).toEqual([
      ["b", 1],
      ["2", 2],
      ["1", 3],
    ])
  })

  test("what is not JSON is refused", () => {
    for (const bad of ["[1.0,]", '{"1":1.0', "01.0", "1.0 2.0", '{"a":1e}', ""])
      expect(() => parseJson(bad)).toThrow(SyntaxError)
  })

  test("arbitrary values survive", () => {
    let state = 7
    const next = (n: number) => {
      state = (state * 1103515245 + 12345) % 2147483648
      return state % n
    }
    const value = (depth: number): string => {
      const kind = next(depth > 3 ? 3 : 5)
      if (kind === 0)
        return `${next(2) ? "-" : ""}${next(1e9)}${next(2) ? `.${"0123456789".slice(0, 1 + next(9))}` : ""}${next(3) ? "" : "e5"}`
      if (kind === 1) return JSON.stringify(`\\"${next(100)}": 1.0\n`)
      if (kind === 2) return ["true", "false", "null"][next(3)] as string
      const parts = Array.from({ length: next(4) }, (_, i) =>
        kind === 3 ? value(depth + 1) : `"${9 - i}":${value(depth + 1)}`,
      )
      return kind === 3 ? `[${parts}]` : `{${parts}}`
    }
    for (let i = 0; i < 2000; i++) {
      const text = value(0)
      expect(stringifyJson(parseJson(text))).toBe(text)
    }
  })
})
