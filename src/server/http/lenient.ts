/**
 * What a request may carry although it has no effect: keys that the server does not know, and fields that it knows but has no use for.
 * Each is counted, and logged once at debug level. With `--strict`, unknown keys are refused.
 */

import { z } from "zod"
import { currentRequest, noteIgnored } from "../observe/record.ts"

export { noteIgnored } from "../observe/record.ts"

/** The model of a request. */
export const modelName = z
  .string()
  .nullish()
  .describe("A name that /v1/models lists; `:latest` may be added or left out. Default: the first model.")

/** Why a field has no effect, by its schema. */
const WITHOUT_EFFECT = new WeakMap<z.ZodType, string>()

/**
 * A field that is accepted and has no effect. Any value is accepted, unless `schema` says otherwise.
 * @param why Ends a sentence that begins with the field's name, as in "describes how OpenAI's own service stores answers".
 */
export function noEffect<T extends z.ZodType = z.ZodUnknown>(why: string, schema?: T) {
  const field = (schema ?? z.unknown()).nullish().describe(`Accepted without effect: it ${why}.`)
  WITHOUT_EFFECT.set(field, why)
  return field as z.ZodOptional<z.ZodNullable<T>>
}

/** By name, why a field without effect has none; for the documents. */
export const fieldsWithoutEffect = new Map<string, string>()

/**
 * An object of a request. Unknown keys are removed and noted ({@link noteIgnored}), or refused where the server is strict; those whose
 * value is `null` say nothing, so they are not noted. Fields made by {@link noEffect} are noted too.
 * @param place Where the object is in the body, as `messages[]`; empty for the body itself.
 */
export function openObject<S extends z.ZodRawShape>(place: string, shape: S) {
  const nameOf = (key: string) => (place === "" ? key : `${place}.${key}`)
  const effectless = new Set<string>()
  for (const [key, schema] of Object.entries(shape)) {
    const why = WITHOUT_EFFECT.get(schema as z.ZodType)
    if (why === undefined) continue
    effectless.add(key)
    fieldsWithoutEffect.set(nameOf(key), why)
  }
  // The loose object is typed as one without unknown keys, which it is after the check.
  return z.looseObject(shape).check(({ value, issues }) => {
    const body = value as Record<string, unknown>
    for (const key of Object.keys(body)) {
      const known = Object.hasOwn(shape, key)
      if (known && !effectless.has(key)) continue
      const given = body[key] !== null && body[key] !== undefined
      if (!known && given && currentRequest()?.strict)
        issues.push({ code: "unrecognized_keys", keys: [key], input: body, continue: false })
      else if (given) noteIgnored(nameOf(key), known)
      if (!known) delete body[key]
    }
  }) as unknown as z.ZodObject<S, z.core.$strip>
}
