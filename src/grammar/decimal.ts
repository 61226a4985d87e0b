/** Exact decimal numbers: the bounds and values of schemas. */

import { GrammarError } from "./expr.ts"

/** `units` · 10^`exponent`, without zeros at the end of `units`; zero is 0 · 10^0. */
export interface Decimal {
  readonly units: bigint
  readonly exponent: number
}

/** Greatest exponent either way, and most digits of a number in a schema. */
const MAX_EXPONENT = 2000

/** @param text A number in JSON's syntax. @throws GrammarError for one of very many digits. */
export function decimal(text: string): Decimal {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/.exec(text) ?? []
  const digits = `${whole}${fraction}`.replace(/^0+/, "")
  const trimmed = digits.replace(/0+$/, "")
  if (trimmed === "") return ZERO
  const power = Number(exponent) - fraction.length + digits.length - trimmed.length
  if (Math.abs(power) > MAX_EXPONENT || trimmed.length > MAX_EXPONENT)
    throw new GrammarError(`a number of more than ${MAX_EXPONENT} digits is not supported`)
  return { units: BigInt(`${sign}${trimmed}`), exponent: power }
}

export const ZERO: Decimal = { units: 0n, exponent: 0 }

const pow10 = (n: number): bigint => 10n ** BigInt(n)

/** The number times 10^`places`, rounded down or up. */
export function scaled({ units, exponent }: Decimal, places: number, up: boolean): bigint {
  const power = exponent + places
  if (power >= 0) return units * pow10(power)
  const by = pow10(-power)
  const quotient = units / by
  const rest = units % by
  if (rest === 0n) return quotient
  return up ? (units > 0n ? quotient + 1n : quotient) : units < 0n ? quotient - 1n : quotient
}

/** Less than, equal to or greater than zero, as `a` is to `b`. */
export function compare(a: Decimal, b: Decimal): number {
  const places = Math.max(0, -a.exponent, -b.exponent)
  const difference = scaled(a, places, false) - scaled(b, places, false)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

export const isWhole = ({ exponent }: Decimal): boolean => exponent >= 0

export const negated = ({ units, exponent }: Decimal): Decimal => ({ units: -units, exponent })

/** The value of whole `units` in 10^-`places`. */
export function fromScaled(units: bigint, places: number): Decimal {
  let [left, exponent] = [units, -places]
  if (left === 0n) return ZERO
  for (; left % 10n === 0n; exponent++) left /= 10n
  return { units: left, exponent }
}

/** A name that equal numbers share: 1, 1.0 and 10e-1 have the same. */
export const decimalKey = ({ units, exponent }: Decimal): string => `${units}e${exponent}`

/** The text of a number without exponent. */
export function decimalText({ units, exponent }: Decimal): string {
  const [sign, digits] = units < 0n ? ["-", `${-units}`] : ["", `${units}`]
  if (exponent >= 0) return `${sign}${digits}${"0".repeat(exponent)}`
  const padded = digits.padStart(1 - exponent, "0")
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`
}

/** Whether `value` is a whole multiple of `unit`, which is above zero. */
export function isMultiple(value: Decimal, unit: Decimal): boolean {
  const places = Math.max(0, -value.exponent, -unit.exponent)
  return scaled(value, places, false) % scaled(unit, places, false) === 0n
}

/** The least number above zero that is a multiple of both, which are above zero. */
export function leastMultiple(a: Decimal, b: Decimal): Decimal {
  const places = Math.max(0, -a.exponent, -b.exponent)
  const [x, y] = [scaled(a, places, false), scaled(b, places, false)]
  let [p, q] = [x, y]
  while (q !== 0n) [p, q] = [q, p % q]
  return fromScaled((x / p) * y, places)
}
