/** JSON values as schemas compare them: 1 and 1.0 are equal, and so are objects whose keys differ in order. */

import { numberText, stringifyJson } from "../json.ts"
import { type Decimal, decimal, decimalKey, isWhole } from "./decimal.ts"
import { isObject } from "./schema-source.ts"

export const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const
export type Type = (typeof TYPES)[number]

/** A number exactly; `undefined`: the value is none. */
export function decimalOf(value: unknown): Decimal | undefined {
  const text = numberText(value)
  return text === undefined ? undefined : decimal(text)
}

/** A text that equal values share. */
function keyOf(value: unknown): string {
  const number = decimalOf(value)
  if (number !== undefined) return decimalKey(number)
  if (Array.isArray(value)) return `[${value.map(keyOf)}]`
  if (!isObject(value)) return JSON.stringify(value)
  const parts = Object.keys(value)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${keyOf(value[key])}`)
  return `{${parts}}`
}

export const sameValue = (a: unknown, b: unknown): boolean => a === b || keyOf(a) === keyOf(b)

/** The values without repetitions, as JSON. */
export const textsOf = (values: readonly unknown[]): string[] =>
  [...new Map([...values].reverse().map((value) => [keyOf(value), stringifyJson(value)])).values()].reverse()

export function hasType(value: unknown, type: Type): boolean {
  switch (type) {
    case "null":
      return value === null
    case "array":
      return Array.isArray(value)
    case "object":
      return isObject(value)
    case "number":
      return decimalOf(value) !== undefined
    case "integer": {
      const number = decimalOf(value)
      return number !== undefined && isWhole(number)
    }
    default:
      return typeof value === type
  }
}
