/** Values of JSON as values of the template language, without loss: see `json.ts`. */

import { Environment } from "@huggingface/jinja"
import { entriesOf, isRawNumber, rawNumber } from "../json.ts"

export type Value = ReturnType<Environment["set"]>

/** The library does not export the classes of its values. */
const classOf = (value: unknown) => new Environment().set("sample", value).constructor as new (value?: unknown) => Value
const IntegerValue = classOf(1)
const FloatValue = classOf(0.5)
const StringValue = classOf("")
const BooleanValue = classOf(true)
const NullValue = classOf(null)
const UndefinedValue = classOf(undefined)
const ArrayValue = classOf([])
const ObjectValue = classOf({})

/** A number that calculates as a double, and is printed as it was written, also by `JSON.stringify`. */
class WrittenNumber extends Number {
  constructor(readonly text: string) {
    super(text)
  }

  override toString(): string {
    return this.text
  }

  override toFixed(): string {
    return this.text
  }

  toJSON(): unknown {
    return rawNumber(this.text)
  }
}

const INTEGER = /^-?\d+$/

/** The number of a text in JSON's syntax, of the type that Python's parser gives it. */
function writtenNumber(text: string): Value {
  const number = new WrittenNumber(text)
  const value = new (INTEGER.test(text) ? IntegerValue : FloatValue)(number)
  // Any object of JavaScript is true.
  if (number.valueOf() === 0) value.__bool__ = () => new BooleanValue(false) as ReturnType<Value["__bool__"]>
  return value
}

/**
 * A JavaScript value as a value of a template. Objects keep the order of their keys.
 * @param onWritten Called for a number that prints otherwise than JavaScript's would.
 */
export function templateValue(value: unknown, onWritten: () => void): Value {
  if (value === null) return new NullValue(null)
  switch (typeof value) {
    case "string":
      return new StringValue(value)
    case "number":
      return new (Number.isInteger(value) ? IntegerValue : FloatValue)(value)
    case "boolean":
      return new BooleanValue(value)
    case "undefined":
      return new UndefinedValue()
    case "object": {
      if (Array.isArray(value)) return new ArrayValue(value.map((item) => templateValue(item, onWritten)))
      if (!isRawNumber(value))
        return new ObjectValue(new Map(entriesOf(value).map(([key, item]) => [key, templateValue(item, onWritten)])))
      onWritten()
      return writtenNumber(value.rawJSON)
    }
    default:
      return new Environment().set("function", value)
  }
}

type Operation = (left: string, right: string) => Value

const truth = (test: (order: number) => boolean): Operation => {
  return (left, right) => new BooleanValue(test(compared(left, right)))
}

const whole = (calculate: (left: bigint, right: bigint) => bigint): Operation => {
  return (left, right) => writtenNumber(String(calculate(BigInt(left), BigInt(right))))
}

const COMPARISONS: Readonly<Record<string, Operation>> = {
  "==": truth((order) => order === 0),
  "!=": truth((order) => order !== 0),
  "<": truth((order) => order < 0),
  "<=": truth((order) => order <= 0),
  ">": truth((order) => order > 0),
  ">=": truth((order) => order >= 0),
}

/** Digits of two integers that are calculated exactly. The time for longer ones grows with their square. */
const MAX_DIGITS = 1000

/** Python's operations on integers of any length. */
const ARITHMETIC: Readonly<Record<string, Operation>> = {
  "+": whole((left, right) => left + right),
  "-": whole((left, right) => left - right),
  "*": whole((left, right) => left * right),
  "//": whole((left, right) => (left - floorRest(left, right)) / right),
  "%": whole(floorRest),
}

/** The rest of a division that rounds down, with the sign of the divisor. */
function floorRest(left: bigint, right: bigint): bigint {
  const rest = left % right
  return rest !== 0n && rest < 0n !== right < 0n ? rest + right : rest
}

/** The operators that {@link exactOperation} knows. */
export const isExactOperator = (operator: string): boolean => operator in COMPARISONS || operator in ARITHMETIC

/**
 * The result of an operation on two numbers, one of which is a written one; integers are calculated exactly, and all are compared exactly.
 * @returns `undefined` for other operands, and for for calculations with fractions or very long integers, which the library does with doubles.
 */
export function exactOperation(operator: string, left: Value, right: Value): Value | undefined {
  if (!isWritten(left) && !isWritten(right)) return undefined
  const [a, b] = [numeral(left), numeral(right)]
  const compare = COMPARISONS[operator]
  if (a === undefined || b === undefined) {
    // JavaScript would find the text "1.0" equal to the number.
    const equality = operator === "==" || operator === "!="
    return equality ? new BooleanValue(operator === "!=") : undefined
  }
  if (compare !== undefined) return compare(a, b)
  if (!INTEGER.test(a) || !INTEGER.test(b) || a.length + b.length > MAX_DIGITS) return undefined
  // The library divides by zero as JavaScript does.
  return /^-?0+$/.test(b) && (operator === "//" || operator === "%") ? undefined : ARITHMETIC[operator]?.(a, b)
}

/** Whether a value prints as it was written. */
export const isWritten = ({ value }: Value): boolean => (value as unknown) instanceof WrittenNumber

/** The text of a number or truth value; `undefined` for other values. */
function numeral({ value }: Value): string | undefined {
  if ((value as unknown) instanceof WrittenNumber || typeof value === "number") return String(value)
  return typeof value === "boolean" ? String(Number(value)) : undefined
}

/** The order of two numbers in JSON's syntax: negative, 0 or positive. */
function compared(left: string, right: string): number {
  const [a, b] = [parts(left), parts(right)]
  if (a.sign !== b.sign || a.sign === 0) return a.sign - b.sign
  const magnitude = a.exponent - b.exponent || (a.digits < b.digits ? -1 : a.digits > b.digits ? 1 : 0)
  return a.sign * magnitude
}

/** A number as sign × 0.digits × 10^exponent, without zeros at either end of the digits, so that digits compare as texts. */
function parts(text: string): { sign: number; digits: string; exponent: number } {
  const [, minus = "", whole = "", fraction = "", power = "0"] =
    /^(-?)(\d+)(?:\.(\d+))?(?:e([-+]?\d+))?$/i.exec(text) ?? []
  const all = whole + fraction
  const significant = all.replace(/^0+/, "")
  const digits = significant.replace(/0+$/, "")
  if (digits === "") return { sign: 0, digits, exponent: 0 }
  return {
    sign: minus === "" ? 1 : -1,
    digits,
    exponent: whole.length - (all.length - significant.length) + Number(power),
  }
}
