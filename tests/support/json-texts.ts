/** Random texts that are nearly what a schema asks for: values made from it, the same with a few changes, and noise. */

import { stringifyJson } from "../../src/json.ts"
import type { Schema } from "./json-schemas.ts"

type Random = () => number

const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random() * list.length)] as T
const upTo = (n: number, random: Random): number => Math.floor(random() * (n + 1))

const WORDS = [
  "",
  "a",
  "b",
  "ab",
  "abc",
  "foo",
  "bar",
  "x",
  "x-a",
  "s_1",
  "ok",
  "2024-02-29",
  "12:30:00Z",
  "1.2.3.4",
  "é",
  "a b",
  "P1D",
]
const SAMPLES = [
  "2024-02-29T12:30:00Z",
  "123e4567-e89b-12d3-a456-426614174000",
  "https://a.b",
  "#00ff00",
  "foobar",
  "12345",
  "AB12 3456 7890 1234",
  "user@mail.com",
  "aa:bb:cc",
  "1.2.3",
  "+123456789",
  "PT5M",
]

/** A value that is likely to be valid. */
function sampleOf(schema: unknown, root: Schema, random: Random, depth = 0): unknown {
  if (typeof schema !== "object" || schema === null) return pick<unknown>([1, "a", null, true, [], {}], random)
  const { $ref, anyOf, oneOf, allOf, enum: values, type, ...rest } = schema as Schema & { type?: unknown }
  if ("const" in rest) return rest.const
  if (Array.isArray(values)) return pick<unknown>(values, random)
  if (typeof $ref === "string") {
    const target = $ref
      .split("/")
      .slice(1)
      .reduce<unknown>((at, key) => (at as Schema)[key.replaceAll("~1", "/")], root)
    return sampleOf(target, root, random, depth + 1)
  }
  const branches = (anyOf ?? oneOf) as unknown[] | undefined
  if (branches) return sampleOf(depth > 6 ? branches[0] : pick(branches, random), root, random, depth + 1)
  if (Array.isArray(allOf)) return sampleOf(Object.assign({}, rest, { type }, ...allOf), root, random, depth + 1)
  const kind = pick([type ?? ["string", "integer", "null", "boolean", "array", "object", "number"]].flat(), random)
  if (kind === "boolean") return random() < 0.5
  if (kind === "null") return null
  if (kind === "string") return textOf(rest, random)
  if (kind === "integer" || kind === "number") return numberOf(rest, kind === "integer", random)
  return kind === "array" ? listOf(rest, root, random, depth) : objectOf(rest, root, random, depth)
}

function textOf({ minLength = 0, maxLength = 6 }: Schema, random: Random): string {
  const word = random() < 0.5 ? pick(WORDS, random) : pick(SAMPLES, random)
  if (random() < 0.5) return word
  const n = (minLength as number) + upTo(Math.min(8, (maxLength as number) - (minLength as number)), random)
  return Array.from({ length: n }, () => pick(["a", "b", "1", "_", "é", "z", "F"], random)).join("")
}

function numberOf({ minimum, maximum, multipleOf = 1 }: Schema, isWhole: boolean, random: Random): number {
  const low = (minimum ?? ((maximum as number | undefined) ?? 10) - 20) as number
  const high = (maximum ?? low + 40) as number
  const edge = random()
  if (edge < 0.15) return low
  if (edge < 0.3) return high
  const value = low + random() * (high - low) * 1.2
  if (!isWhole) return Number(value.toFixed(upTo(3, random)))
  return Math.round(value / (multipleOf as number)) * (multipleOf as number)
}

function listOf(schema: Schema, root: Schema, random: Random, depth: number): unknown[] {
  const { prefixItems = [], items = {}, minItems = 0, maxItems = 4 } = schema
  const n =
    (minItems as number) +
    upTo(Math.max(0, Math.min(depth > 3 ? 0 : 3, (maxItems as number) - (minItems as number))), random)
  const prefix = prefixItems as unknown[]
  return Array.from({ length: Math.max(n, random() < 0.5 ? Math.min(prefix.length, maxItems as number) : 0) }, (_, i) =>
    sampleOf(prefix[i] ?? items, root, random, depth + 1),
  )
}

function objectOf(schema: Schema, root: Schema, random: Random, depth: number): Record<string, unknown> {
  const { properties = {}, required = [], additionalProperties, patternProperties = {} } = schema
  const object: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(properties as Schema)) {
    const needed = (required as string[]).includes(name)
    if (needed ? random() < 0.97 : random() < (depth > 4 ? 0 : 0.5))
      object[name] = sampleOf(value, root, random, depth + 1)
  }
  const others = Object.values(patternProperties as Schema)
  if (typeof additionalProperties === "object") others.push(additionalProperties)
  if (others.length > 0 || additionalProperties === undefined)
    for (let i = upTo(depth > 3 ? 0 : 2, random); i > 0; i--)
      object[pick(WORDS, random)] ??= sampleOf(pick([...others, 1], random), root, random, depth + 2)
  return object
}

const CHARS = '{}[]":,0123456789-+.eEtruefalsnbcdxyzABZ_@/\\é😀'

/** The text with a character or two changed. */
function changed(text: string, random: Random): string {
  const chars = Array.from(text)
  for (let i = 1 + upTo(1, random); i > 0; i--) {
    const at = upTo(Math.max(0, chars.length - 1), random)
    const kind = random()
    if (kind < 0.3) chars.splice(at, 1)
    else if (kind < 0.55) chars.splice(at, 0, pick(Array.from(CHARS), random))
    else if (kind < 0.8) chars[at] = pick(Array.from(CHARS), random)
    else if (kind < 0.9) chars.splice(at, 0, chars[at] ?? "")
    else [chars[at], chars[at + 1]] = [chars[at + 1] ?? "", chars[at] ?? ""]
  }
  return chars.join("")
}

/** White space outside of strings, of which implementations allow different kinds. */
const withoutSpace = (text: string): string =>
  text.replace(/("(?:[^"\\]|\\.)*(?:"|$))|\s+/g, (_, string = "") => string)

/** `n` random texts. */
export function textsNear(schema: Schema, n: number, random: Random): string[] {
  return Array.from({ length: n }, () => {
    const kind = random()
    if (kind < 0.08)
      return withoutSpace(Array.from({ length: upTo(12, random) }, () => pick(Array.from(CHARS), random)).join(""))
    const text = stringifyJson(sampleOf(schema, schema, random))
    return withoutSpace(kind < 0.4 ? text : changed(text, random))
  })
}
