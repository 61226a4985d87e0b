import { describe, expect, test } from "bun:test"
import fc from "fast-check"
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
