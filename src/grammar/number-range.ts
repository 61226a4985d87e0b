/** Expressions for decimal numbers between bounds. */

import { choice, EMPTY, type Expr, GrammarError, literal, oneOf, repeat, sequence } from "./expr.ts"

/** Most digits of a number: every such number, and the order of any two, is exact as a double. */
const MAX_DIGITS = 15
/** Digits before the point, unless the bounds need more. */
const USUAL_WHOLE = 9
/** Most digits after the point. */
const MOST_PLACES = 12
const GREATEST = 10 ** MAX_DIGITS - 1

const DIGIT = oneOf("0123456789")

/** Bounds of a number; `undefined` for no bound. */
interface Bounds {
  minimum?: number | undefined
  maximum?: number | undefined
  exclusiveMinimum?: number | undefined
  exclusiveMaximum?: number | undefined
}

const digits = (low: number, high: number): Expr => oneOf("0123456789".slice(low, high + 1))

/** Whole numbers between two bounds with the same number of digits. */
function sameLength(low: string, high: string): Expr[] {
  const [a, b] = [Number(low[0]), Number(high[0])]
  if (low.length === 1) return [digits(a, b)]
  const rest = low.length - 1
  const nines = "9".repeat(rest)
  const zeros = "0".repeat(rest)
  const tail = (from: string, to: string): Expr => choice(...sameLength(from, to))
  const [lowRest, highRest] = [low.slice(1), high.slice(1)]
  if (lowRest === zeros && highRest === nines) return [sequence(digits(a, b), repeat(DIGIT, rest, rest))]
  if (a === b) return [sequence(digits(a, a), tail(lowRest, highRest))]
  const parts = [sequence(digits(a, a), tail(lowRest, nines))]
  if (b - a > 1) parts.push(sequence(digits(a + 1, b - 1), repeat(DIGIT, rest, rest)))
  parts.push(sequence(digits(b, b), tail(zeros, highRest)))
  return parts
}

/** Whole numbers from `low` to `high`, both at least 0. */
function natural(low: number, high: number): Expr[] {
  const parts: Expr[] = []
  for (let from = low; from <= high; ) {
    const to = Math.min(high, 10 ** String(from).length - 1)
    parts.push(...sameLength(String(from), String(to)))
    from = to + 1
  }
  return parts
}

const MINUS = literal("-")

/** Whole numbers within bounds. @throws GrammarError when there is none. */
export function integerRange({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Bounds): Expr {
  const low = Math.max(-GREATEST, Math.ceil(minimum ?? -GREATEST), Math.floor(exclusiveMinimum ?? -GREATEST - 1) + 1)
  const high = Math.min(GREATEST, Math.floor(maximum ?? GREATEST), Math.ceil(exclusiveMaximum ?? GREATEST + 1) - 1)
  if (low > high) throw new GrammarError("no whole number of up to 15 digits lies between its bounds")
  const parts: Expr[] = []
  if (low < 0) parts.push(...natural(Math.max(1, -high), -low).map((part) => sequence(MINUS, part)))
  if (high >= 0) parts.push(...natural(Math.max(0, low), high))
  return choice(...parts)
}

/** A bound of the digits after the point, without trailing zeros. */
interface Edge {
  digits: string
  /** The number may be equal to it. */
  equal: boolean
}

/** Up to `n` digits of a fraction from `low` to `high` (`undefined`: 0 or 1); `undefined` where no digits fit. */
function fraction(low: Edge | undefined, high: Edge | undefined, n: number, mayEnd: boolean): Expr | undefined {
  if (low?.digits === "" && low.equal) return fraction(undefined, high, n, mayEnd)
  if (low === undefined && high === undefined)
    return n === 0 ? (mayEnd ? EMPTY : undefined) : repeat(DIGIT, mayEnd ? 0 : 1, n)
  if (high?.digits === "" && !high.equal) return undefined
  const parts: Expr[] = []
  if (mayEnd && low === undefined) parts.push(EMPTY)
  if (n > 0) {
    const from = low ? Number(low.digits[0] ?? 0) : 0
    const to = high ? Number(high.digits[0] ?? 0) : 9
    const next = (edge: Edge | undefined): Edge | undefined => edge && { ...edge, digits: edge.digits.slice(1) }
    const add = (first: number, last: number, rest: Expr | undefined): void => {
      if (first <= last && rest) parts.push(sequence(digits(first, last), rest))
    }
    const onLow = low !== undefined
    const onHigh = high !== undefined
    if (onLow && onHigh && from === to) add(from, to, fraction(next(low), next(high), n - 1, true))
    else {
      if (onLow) add(from, from, fraction(next(low), undefined, n - 1, true))
      add(from + (onLow ? 1 : 0), to - (onHigh ? 1 : 0), fraction(undefined, undefined, n - 1, true))
      if (onHigh) add(to, to, fraction(undefined, next(high), n - 1, true))
    }
  }
  return parts.length === 0 ? undefined : choice(...parts)
}

/** Decimals from `low` to `high`, both at least 0. */
function decimals(low: Split, lowEqual: boolean, high: Split, highEqual: boolean, places: number): Expr[] {
  const parts: Expr[] = []
  if (Number(`${low.whole}.${low.fraction}`) > Number(`${high.whole}.${high.fraction}`)) return parts
  const add = (wholes: readonly Expr[], from: Edge | undefined, to: Edge | undefined): void => {
    const isWhole = (from === undefined || (from.digits === "" && from.equal)) && (to?.digits !== "" || to.equal)
    const decimals = fraction(from, to, places, false)
    for (const whole of wholes) {
      if (isWhole) parts.push(whole)
      if (decimals) parts.push(sequence(whole, literal("."), decimals))
    }
  }
  const from: Edge = { digits: low.fraction, equal: lowEqual }
  const to: Edge = { digits: high.fraction, equal: highEqual }
  const whole = (value: number): Expr[] => [literal(String(value))]
  if (low.whole === high.whole) add(whole(low.whole), from, to)
  else if (low.whole < high.whole) {
    add(whole(low.whole), from, undefined)
    add(natural(low.whole + 1, high.whole - 1), undefined, undefined)
    add(whole(high.whole), undefined, to)
  }
  return parts
}

interface Split {
  whole: number
  fraction: string
}

/** A bound of at least 0. One with more than `places` digits after the point is rounded inwards. */
function split(value: number, places: number, up: boolean): Split {
  let text = value.toFixed(places)
  const step = 10 ** -places
  if (up && Number(text) < value) text = (Number(text) + step).toFixed(places)
  if (!up && Number(text) > value) text = (Number(text) - step).toFixed(places)
  const [whole = "0", digits = ""] = text.split(".")
  return { whole: Number(whole), fraction: digits.replace(/0+$/, "") }
}

/**
 * Decimal numbers without exponent.
 * @throws GrammarError when no number is within the bounds.
 */
export function numberRange({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Bounds): Expr {
  const bounds = [minimum, maximum, exclusiveMinimum, exclusiveMaximum].filter((bound) => bound !== undefined)
  const texts = bounds
    .filter((bound) => Math.abs(bound) <= GREATEST)
    .map((bound) => Math.abs(bound).toFixed(MOST_PLACES))
  const longest = Math.max(1, ...texts.map((text) => text.indexOf(".")))
  const needed = Math.max(0, ...texts.map((text) => text.replace(/0+$/, "").length - text.indexOf(".") - 1))
  const nWhole = Math.max(longest, Math.min(USUAL_WHOLE, MAX_DIGITS - needed - 1))
  const places = Math.min(MAX_DIGITS - nWhole, MOST_PLACES)
  const limit = 10 ** nWhole - 1
  const low = Math.max(minimum ?? -limit, exclusiveMinimum ?? -limit, -limit)
  const high = Math.min(maximum ?? limit, exclusiveMaximum ?? limit, limit)
  const lowEqual = low !== exclusiveMinimum
  const highEqual = high !== exclusiveMaximum
  const parts: Expr[] = []
  const add = (near: number, nearEqual: boolean, far: number, farEqual: boolean, sign: Expr): void => {
    const found = decimals(split(near, places, true), nearEqual, split(far, places, false), farEqual, places)
    parts.push(...found.map((part) => sequence(sign, part)))
  }
  if (low < 0 && low <= high) add(Math.max(0, -high), high > 0 || highEqual, -low, lowEqual, literal("-"))
  if (high >= 0 && low <= high) add(Math.max(0, low), low < 0 || lowEqual, high, highEqual, EMPTY)
  if (parts.length === 0) throw new GrammarError("no number of up to 15 digits lies between its bounds")
  return choice(...parts)
}
