/** Decimal numbers between bounds, as terms over their digits. Bounds are exact; no number passes through a double. */

import { type Decimal, decimalText, fromScaled, isWhole, negated, scaled, ZERO } from "./decimal.ts"
import { GrammarError } from "./expr.ts"
import type { Term, Terms } from "./terms.ts"

/** Most digits before and after the point, unless bounds need more. The greatest double has 309 digits, so that every parser reads a finite number. */
export const MOST_DIGITS = 300
/** Two different decimals with at most this many significant digits are different doubles (C's DBL_DIG). */
const DOUBLE_DIGITS = 15

export interface Bounds {
  readonly minimum?: Decimal | undefined
  readonly maximum?: Decimal | undefined
  readonly exclusiveMinimum?: Decimal | undefined
  readonly exclusiveMaximum?: Decimal | undefined
  /** Above zero. */
  readonly multipleOf?: Decimal | undefined
}

/** Whole numbers within bounds. @throws GrammarError when there is none. */
export function integerTerm(terms: Terms, bounds: Bounds): Term {
  const lows: bigint[] = []
  const highs: bigint[] = []
  if (bounds.minimum) lows.push(scaled(bounds.minimum, 0, true))
  if (bounds.exclusiveMinimum) lows.push(scaled(bounds.exclusiveMinimum, 0, false) + 1n)
  if (bounds.maximum) highs.push(scaled(bounds.maximum, 0, false))
  if (bounds.exclusiveMaximum) highs.push(scaled(bounds.exclusiveMaximum, 0, true) - 1n)
  const low = lows.reduce<bigint | undefined>((a, b) => (a === undefined || b > a ? b : a), undefined)
  const high = highs.reduce<bigint | undefined>((a, b) => (a === undefined || b < a ? b : a), undefined)
  const unit = bounds.multipleOf && wholeUnit(bounds.multipleOf)
  if (low !== undefined && high !== undefined) {
    const first = unit === undefined ? low : ceilTo(low, unit)
    if (first > high) throw new GrammarError("no whole number lies between its bounds")
  }
  const parts: Term[] = []
  const most = unit === undefined || unit > MOST_COUNTED ? undefined : 10n ** BigInt(DOUBLE_DIGITS) - 1n
  if (low === undefined || low < 0n) {
    const from = high !== undefined && high < 0n ? -high : 1n
    parts.push(
      terms.sequence(terms.text("-"), multiples(terms, from, low === undefined ? capped(from, most) : -low, unit)),
    )
  }
  if (high === undefined || high >= 0n) {
    const from = low !== undefined && low > 0n ? low : 0n
    parts.push(multiples(terms, from, high === undefined ? capped(from, most) : high, unit))
  }
  // Zero has a sign only where other numbers have one, so that a sign does not force a zero.
  if ((low === undefined || low < 0n) && (high === undefined || high >= 0n)) parts.push(terms.text("-0"))
  return terms.or(...parts)
}

/** An upper limit, because validators compute remainders in doubles. No limit applies where `from` is already above it. */
const capped = (from: bigint, most: bigint | undefined): bigint | undefined =>
  most !== undefined && from < most ? most : undefined

/** The smallest positive integer that is a multiple of `unit`. Every integer that is a multiple of `unit` is a multiple of the result. */
function wholeUnit({ units, exponent }: Decimal): bigint {
  if (exponent >= 0) return units * 10n ** BigInt(exponent)
  let [a, b] = [units, 10n ** BigInt(-exponent)]
  while (b !== 0n) [a, b] = [b, a % b]
  return units / a
}

const ceilTo = (value: bigint, unit: bigint): bigint => {
  const rest = ((value % unit) + unit) % unit
  return rest === 0n ? value : value + unit - rest
}

/** Most multiples that are listed one by one, and the greatest unit whose remainders an automaton counts: with a number's digits, and alone. */
const MOST_LISTED = 2000n
const MOST_COUNTED = 500n
const MOST_REMAINDERS = 4000n

/** The multiples of `unit` from `low` to `high`, both at least 0. */
function multiples(terms: Terms, low: bigint, high: bigint | undefined, unit = 1n): Term {
  if (unit === 1n) return naturals(terms, low, high)
  const first = ceilTo(low, unit)
  if (high !== undefined) {
    if (first > high) return terms.none
    if ((high - first) / unit < MOST_LISTED) {
      const listed: Term[] = []
      for (let value = first; value <= high; value += unit) listed.push(terms.text(`${value}`))
      return terms.or(...listed)
    }
  }
  // Multiples of 86400 are those of 864 with two zeros.
  if (unit % 10n === 0n) {
    const tens = multiples(
      terms,
      first === 0n ? 1n : first / 10n,
      high === undefined ? undefined : high / 10n,
      unit / 10n,
    )
    return terms.or(first === 0n ? terms.text("0") : terms.none, terms.sequence(tens, terms.text("0")))
  }
  if (unit > MOST_REMAINDERS) throw new GrammarError(`'multipleOf' ${unit} is not supported without narrow bounds`)
  if (high === undefined && unit > MOST_COUNTED)
    return terms.and(
      terms.or(terms.text("0"), terms.sequence(digits(terms, 1, 9), terms.repeat(digits(terms, 0, 9), 0))),
      terms.multiple(unit, 0),
      low > 0n ? terms.not(naturals(terms, 0n, low - 1n)) : terms.any,
    )
  return terms.and(naturals(terms, low, high), terms.multiple(unit, 0))
}

/** Whole numbers from `low` to `high`, both at least 0; without `high`: of up to {@link MOST_DIGITS} digits, or as many more as `low` needs. */
function naturals(terms: Terms, low: bigint, high: bigint | undefined): Term {
  if (high !== undefined && low > high) return terms.none
  const parts: Term[] = []
  const from = `${low}`
  const to = high === undefined ? undefined : `${high}`
  if (to !== undefined && to.length === from.length) return sameLength(terms, from, to)
  parts.push(sameLength(terms, from, "9".repeat(from.length)))
  const most = to === undefined ? Math.max(MOST_DIGITS, from.length + 1) : to.length - 1
  if (most > from.length)
    parts.push(terms.sequence(digits(terms, 1, 9), terms.repeat(digits(terms, 0, 9), from.length, most - 1)))
  if (to !== undefined) parts.push(sameLength(terms, `1${"0".repeat(to.length - 1)}`, to))
  return terms.or(...parts)
}

const digits = (terms: Terms, low: number, high: number): Term =>
  low > high ? terms.none : terms.oneOf("0123456789".slice(low, high + 1))

/** Digits from `low` to `high`, which are of the same length. */
function sameLength(terms: Terms, low: string, high: string): Term {
  const rest = low.length - 1
  const [a, b] = [Number(low[0]), Number(high[0])]
  if (rest < 0) return terms.empty
  const any = terms.repeat(digits(terms, 0, 9), rest, rest)
  if (/^0*$/.test(low.slice(1)) && /^9*$/.test(high.slice(1))) return terms.sequence(digits(terms, a, b), any)
  if (a === b) return terms.sequence(digits(terms, a, a), sameLength(terms, low.slice(1), high.slice(1)))
  return terms.or(
    terms.sequence(digits(terms, a, a), sameLength(terms, low.slice(1), "9".repeat(rest))),
    terms.sequence(digits(terms, a + 1, b - 1), any),
    terms.sequence(digits(terms, b, b), sameLength(terms, "0".repeat(rest), high.slice(1))),
  )
}

/**
 * Decimal numbers without exponent. An exclusive bound excludes numbers that are equal to it in their first 15 digits as well, which a
 * parser could round to the bound.
 * @throws GrammarError when no number is within the bounds.
 */
export function numberTerm(terms: Terms, bounds: Bounds): Term {
  const lows = [bounds.minimum, bounds.exclusiveMinimum && inside(bounds.exclusiveMinimum, 1n)].filter(
    (x) => x !== undefined,
  )
  const highs = [bounds.maximum, bounds.exclusiveMaximum && inside(bounds.exclusiveMaximum, -1n)].filter(
    (x) => x !== undefined,
  )
  const low = lows.reduce<Decimal | undefined>((a, b) => (a && less(b, a) ? a : b), undefined)
  const high = highs.reduce<Decimal | undefined>((a, b) => (a && less(a, b) ? a : b), undefined)
  if (low && high && less(high, low)) throw new GrammarError("no number lies between its bounds")
  const unit = bounds.multipleOf
  const limit = unit && 10n ** BigInt(Math.max(1, DOUBLE_DIGITS - Math.max(0, -unit.exponent))) - 1n
  const cap = limit === undefined ? undefined : fromScaled(limit, 0)
  const parts: Term[] = []
  if (!low || low.units < 0n) {
    const near = high && high.units < 0n ? negated(high) : ZERO
    parts.push(terms.sequence(terms.text("-"), magnitudes(terms, near, low ? negated(low) : cap, unit)))
  }
  if (!high || high.units >= 0n) parts.push(magnitudes(terms, low && low.units > 0n ? low : ZERO, high ?? cap, unit))
  const found = terms.or(...parts)
  if (found === terms.none) throw new GrammarError("no number lies between its bounds")
  return found
}

const less = (a: Decimal, b: Decimal): boolean => {
  const places = Math.max(0, -a.exponent, -b.exponent)
  return scaled(a, places, false) < scaled(b, places, false)
}

/** The nearest number of 15 digits on one side of a bound. */
function inside(bound: Decimal, direction: bigint): Decimal {
  const text = decimalText(bound).replace("-", "")
  const whole = text.split(".")[0] as string
  const places = whole === "0" ? DOUBLE_DIGITS : Math.max(0, DOUBLE_DIGITS - whole.length)
  const needed = Math.max(places, -bound.exponent)
  return fromScaled(scaled(bound, needed, false) + direction, needed)
}

/** Decimals from `low` to `high`, both at least 0. */
function magnitudes(terms: Terms, low: Decimal, high: Decimal | undefined, unit: Decimal | undefined): Term {
  if (high && less(high, low)) return terms.none
  if (!unit) return between(terms, low, high, MOST_DIGITS)
  const places = Math.max(0, -unit.exponent)
  const range = between(terms, low, high, places + 2)
  const whole = scaled(unit, places, false)
  if (whole > MOST_REMAINDERS) throw new GrammarError(`'multipleOf' ${decimalText(unit)} is not supported for decimals`)
  return terms.and(range, terms.multiple(whole, places))
}

function between(terms: Terms, low: Decimal, high: Decimal | undefined, places: number): Term {
  const from = split(low)
  const anyFraction = terms.optional(terms.sequence(terms.text("."), some(terms, places)))
  if (!high) {
    return terms.or(
      terms.sequence(terms.text(`${from.whole}`), fraction(terms, from.digits, undefined, places)),
      terms.sequence(naturals(terms, from.whole + 1n, undefined), anyFraction),
    )
  }
  const to = split(high)
  if (from.whole === to.whole)
    return terms.sequence(terms.text(`${from.whole}`), fraction(terms, from.digits, to.digits, places))
  return terms.or(
    terms.sequence(terms.text(`${from.whole}`), fraction(terms, from.digits, undefined, places)),
    terms.sequence(naturals(terms, from.whole + 1n, to.whole - 1n), anyFraction),
    terms.sequence(terms.text(`${to.whole}`), fraction(terms, "", to.digits, places)),
  )
}

/** At least one digit. */
const some = (terms: Terms, places: number): Term => terms.repeat(digits(terms, 0, 9), 1, places)

/** The parts of a number of at least 0. */
function split(value: Decimal): { whole: bigint; digits: string } {
  const [whole = "0", digits = ""] = decimalText(value).split(".")
  return { whole: BigInt(whole), digits }
}

/** Nothing, or a point and digits, from 0.`low` to 0.`high`; without `high`: below 1. */
function fraction(terms: Terms, low: string, high: string | undefined, places: number): Term {
  const after = high === undefined ? from(terms, low, true, places) : inBetween(terms, low, high, true, places)
  const pointed = terms.sequence(terms.text("."), after)
  return low === "" ? terms.optional(pointed) : pointed
}

const rest = (terms: Terms, places: number): Term => terms.repeat(digits(terms, 0, 9), 0, places)

/** Digits of at least 0.`low`. @param filled At least one digit. */
function from(terms: Terms, low: string, filled: boolean, places: number): Term {
  if (low === "") return filled ? some(terms, places) : rest(terms, places)
  const first = Number(low[0])
  return terms.or(
    terms.sequence(digits(terms, first + 1, 9), rest(terms, places)),
    terms.sequence(digits(terms, first, first), from(terms, low.slice(1), false, places)),
  )
}

/** Digits of at most 0.`high`. */
function upTo(terms: Terms, high: string, filled: boolean, places: number): Term {
  if (high === "") return terms.repeat(terms.text("0"), filled ? 1 : 0, places)
  const first = Number(high[0])
  return terms.or(
    filled ? terms.none : terms.empty,
    terms.sequence(digits(terms, 0, first - 1), rest(terms, places)),
    terms.sequence(digits(terms, first, first), upTo(terms, high.slice(1), false, places)),
  )
}

function inBetween(terms: Terms, low: string, high: string, filled: boolean, places: number): Term {
  if (low === "") return upTo(terms, high, filled, places)
  const [a, b] = [Number(low[0]), Number(high[0] ?? 0)]
  if (a === b) return terms.sequence(digits(terms, a, a), inBetween(terms, low.slice(1), high.slice(1), false, places))
  return terms.or(
    terms.sequence(digits(terms, a, a), from(terms, low.slice(1), false, places)),
    terms.sequence(digits(terms, a + 1, b - 1), rest(terms, places)),
    terms.sequence(digits(terms, b, b), upTo(terms, high.slice(1), false, places)),
  )
}

/** All numbers that equal one, without exponent: `1`, `1.0`, `1.00`. */
export function equalTo(terms: Terms, value: Decimal): Term {
  const zeros = terms.repeat(terms.text("0"), 0)
  const text = decimalText(value)
  const tail = isWhole(value) ? terms.optional(terms.sequence(terms.text("."), terms.text("0"), zeros)) : zeros
  const sign = value.units === 0n ? terms.optional(terms.text("-")) : terms.empty
  return terms.sequence(sign, terms.text(text), tail)
}
