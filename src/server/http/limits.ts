/** Limits of one request. Each is far above what real clients send. A request beyond a limit is refused before it costs time or memory. */

import { z } from "zod"
import { exactOf } from "../../json.ts"

export const LIMITS = {
  /** Header fields; their size is bounded by the HTTP parser. */
  headers: 100,
  /** Levels of lists and objects within each other in a body. */
  depth: 100,
  /** Lists, objects and fields in a body, together. */
  nodes: 2 ** 16,
  /** Messages of a conversation. */
  messages: 4096,
  /** Parts, or blocks, of one message. */
  parts: 1024,
  /** Tools of a request, and calls of one message. */
  tools: 128,
  /** Texts that end a generation. */
  stops: 64,
  /** Characters of each of these texts. */
  stopLength: 1024,
  /** Values of `include`. */
  includes: 32,
  /** Variables for the chat template. */
  variables: 64,
  /** Pairs of a request's metadata. */
  metadata: 16,
  /** Prompts of a completion. */
  prompts: 64,
  /** Choices for one prompt, and for all prompts of a request. */
  choicesOfPrompt: 128,
  choicesOfRequest: 512,
  /** Inputs of an embedding. */
  inputs: 2048,
  /** Characters of a text to tokenize. */
  text: 2 ** 20,
  /** Token ids of a list, and of a list to detokenize. */
  tokens: 2 ** 20,
  decoded: 2 ** 18,
  /** Characters of a JSON schema as JSON. */
  schemaLength: 2 ** 20,
  /** Levels of lists and objects in a JSON schema. */
  schemaDepth: 64,
  /** Texts that an answer can be restricted to. */
  choices: 1024,
  /** Characters of a regular expression, or of a grammar. */
  grammarLength: 2 ** 16,
} as const

type Problem = { code: "custom"; path: PropertyKey[]; input: unknown; message: string }

/** A list of `min` to `max` items. A longer list is refused before its items are checked; zod checks its own maximum after them. */
export const list = <T extends z.ZodType>(item: T, max: number, min = 0) =>
  guardedList(z.array(item).min(min).max(max), (value) => tooMany(value, max))

/** A text that ends a generation. */
export const stopText = z.string().min(1).max(LIMITS.stopLength)

/** Metadata of a request: as many pairs, and as long, as OpenAI accepts. */
export const metadata = guarded(z.record(z.string().max(64), z.string().max(512)), (value) =>
  tooManyPairs(value, LIMITS.metadata),
)

/**
 * An object of any JSON, without loss: its numbers may be raw and its keys have their order (see `json.ts`). It is passed on itself, since
 * copies lose the order.
 */
export const jsonObject = wholeObject()

/** Variables of a chat template by their names. */
export const variables = guarded(jsonObject, (value) => tooManyPairs(value, LIMITS.variables))

/** A list of `min` to `max` token ids. A million of them are checked in a loop: zod's own lists take a hundred times as long. */
const idList = (min: number, max: number) =>
  z
    .unknown()
    .check(({ value, issues }) => {
      if (!Array.isArray(value) || typeof value[0] === "string" || Array.isArray(value[0]))
        issues.push({ code: "invalid_type", expected: "array", input: value })
      else if (value.length < min)
        issues.push({ code: "too_small", origin: "array", minimum: min, inclusive: true, input: value, continue: true })
      else issues.push(...[badTokens(value, max)].filter((bad) => bad !== undefined))
    })
    .meta({
      type: "array",
      items: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 },
      minItems: min,
      maxItems: max,
    }) as unknown as z.ZodType<number[], number[]>

const integerId = z
  .int()
  .min(0)
  .max(2 ** 31 - 1)

/** A list of up to `max` token ids. */
export const tokenIds = (max: number) => guardedList(idList(0, max), (value) => badTokens(value, max))

/** A text, a list of token ids, or a list of up to `max` of either, none of them empty. */
export function textsOrTokens(text: z.ZodString, max: number) {
  const ids = idList(1, LIMITS.tokens)
  const either = z.union([text, ids, z.array(text).min(1).max(max), z.array(ids).min(1).max(max)], {
    error: `expected a text, a list of token ids, or a list of up to ${max} of either, none of them empty`,
  })
  return guardedList(either, (value) => {
    if (typeof value[0] === "number") return badTokens(value, LIMITS.tokens)
    const long = tooMany(value, max)
    if (long !== undefined) return long
    for (const [i, item] of value.entries()) {
      const bad = Array.isArray(item) ? badTokens(item, LIMITS.tokens) : undefined
      if (bad !== undefined) return { ...bad, path: [i, ...bad.path] }
    }
    return undefined
  })
}

/** As textsOrTokens, where a list of token ids may also have texts among them: one input of up to `max` ids and texts. */
export function mixedInputs(max: number) {
  const text = z.string()
  const ids = idList(1, LIMITS.tokens)
  const mixed = list(z.union([text, integerId]), max, 1)
  const one = z.union([text, ids, mixed], {
    error: "expected a text, or a list of token ids and texts that is not empty",
  })
  const either = z.union([text, ids, mixed, list(one, max, 1)], {
    error: `expected a text, a list of token ids and texts, or a list of up to ${max} of either, none of the lists empty`,
  })
  /** A list of ids alone may be long, and its first bad id is named. */
  const bad = (value: unknown) =>
    Array.isArray(value) && typeof value[0] === "number" && !value.some((part) => typeof part === "string")
      ? badTokens(value, LIMITS.tokens)
      : undefined
  return guardedList(either, (value) => {
    if (typeof value[0] === "number") return bad(value)
    const long = tooMany(value, max)
    if (long !== undefined) return long
    for (const [i, item] of value.entries()) {
      const found = bad(item)
      if (found !== undefined) return { ...found, path: [i, ...found.path] }
    }
    return undefined
  })
}

/** A schema after a quick check of the whole value, which reports one problem instead of a million. */
function guarded<T extends z.ZodType>(schema: T, problemOf: (value: unknown) => Problem | undefined) {
  const looked = z.preprocess((value, { issues }) => {
    const found = problemOf(value)
    if (found !== undefined) issues.push(found)
    return value
  }, schema)
  // `preprocess` loses the type of the schema's input.
  return looked as unknown as z.ZodType<z.output<T>, z.input<T>>
}

function guardedList<T extends z.ZodType>(schema: T, problemOf: (value: readonly unknown[]) => Problem | undefined) {
  return guarded(schema, (value) => (Array.isArray(value) ? problemOf(value) : undefined))
}

const problem = (input: unknown, message: string, path: PropertyKey[] = []): Problem => ({
  code: "custom",
  path,
  input,
  message,
})

function tooMany(value: readonly unknown[], max: number): Problem | undefined {
  if (value.length <= max) return undefined
  return problem(value, `has ${value.length} items; this server takes up to ${max}`)
}

const isRecord = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value)

function tooManyPairs(value: unknown, max: number): Problem | undefined {
  const count = isRecord(value) ? Object.keys(value).length : 0
  return count > max ? problem(value, `has ${count} pairs; this server takes up to ${max}`) : undefined
}

function badTokens(value: readonly unknown[], max: number): Problem | undefined {
  const bad = value.findIndex((id) => !(Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31))
  if (bad < 0) return tooMany(value, max)
  return problem(value[bad], "expected a token id, a whole number from 0", [bad])
}

/** A JSON schema that compiles in reasonable time, for structured output and the parameters of tools. */
export const boundedSchema = wholeObject((schema) => {
  const { schemaLength, schemaDepth } = LIMITS
  const { length } = JSON.stringify(exactOf(schema))
  if (length > schemaLength)
    return `the schema is ${length} characters of JSON; this server takes up to ${schemaLength}`
  if (depthOf(schema) > schemaDepth)
    return `the schema nests deeper than this server's limit of ${schemaDepth} levels of lists and objects`
  return undefined
})

/** See {@link jsonObject}. @param refusal Says what is wrong with an object, which has lost what JavaScript's parser loses. */
function wholeObject(refusal: (object: object) => string | undefined = () => undefined) {
  return z
    .unknown()
    .check((context) => {
      const { value, issues } = context
      if (!isRecord(value)) {
        issues.push({ code: "invalid_type", expected: "record", input: value })
        return
      }
      const message = refusal(value)
      if (message === undefined) context.value = exactOf(value)
      else issues.push(problem(value, message))
    })
    .meta({ type: "object", additionalProperties: {} }) as unknown as z.ZodType<
    Record<string, unknown>,
    Record<string, unknown>
  >
}

/** A regular expression or grammar of limited length. */
export const boundedPattern = z
  .string()
  .max(LIMITS.grammarLength, `is longer than this server's limit of ${LIMITS.grammarLength} characters`)

/** Levels of lists and objects in a value of a body. The depth of bodies is limited, so this cannot overflow the stack. */
const depthOf = (value: unknown): number =>
  typeof value !== "object" || value === null
    ? 0
    : 1 + Object.values(value).reduce<number>((most, part) => Math.max(most, depthOf(part)), 0)
