/** zod schemas that parse the text of a flag or variable. Their error messages state what is allowed. */

import { z } from "zod"

const toNumber = (value: unknown): unknown =>
  typeof value === "string" && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value.trim()) ? Number(value) : value

/** A whole number from `min` to `max`, as text or number. */
export function wholeNumber(min: number, max: number, allowed = `a whole number from ${min} to ${max}`) {
  const error = `must be ${allowed}`
  return z.preprocess(toNumber, z.number({ error }).int({ error }).min(min, { error }).max(max, { error }))
}

/** Whole numbers from `min` to `max`, separated by commas. */
export function wholeNumbers(min: number, max: number) {
  const error = `must be whole numbers from ${min} to ${max}, separated by commas`
  const one = z.preprocess(toNumber, z.number({ error }).int({ error }).min(min, { error }).max(max, { error }))
  return z.preprocess((value) => (typeof value === "string" ? value.split(",") : value), z.array(one).min(1, { error }))
}

/** A number from `min` to `max`, as text or number. */
export function decimal(min: number, max: number, allowed = `a number from ${min} to ${max}`) {
  const error = `must be ${allowed}`
  return z.preprocess(toNumber, z.number({ error }).min(min, { error }).max(max, { error }))
}

const MAX_SEED = 2n ** 64n - 1n
export const seed = z
  .string()
  .regex(/^\d{1,20}$/, { error: "must be a whole number from 0 to 2^64 - 1" })
  .transform((text) => BigInt(text))
  .refine((value) => value <= MAX_SEED, { error: "must be a whole number from 0 to 2^64 - 1" })

/** A part of the server that can be left out. */
export const feature = z.enum(["slots", "metrics", "pages"], { error: "must be slots, metrics or pages" })

/** A JSON object. */
export const jsonObject = z.string().transform((text, { addIssue }): Record<string, unknown> => {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text))
  } catch {
    addIssue("must be a JSON object")
    return z.NEVER
  }
})

/** A further name of a model. */
export const modelAlias = z
  .string()
  .regex(/^[^=\s]+=[^=\s]+$/, { error: "must be NAME=MODEL, where MODEL is the name of a model that is served" })
  .transform((text): [alias: string, model: string] => {
    const [alias = "", model = ""] = text.split("=")
    return [alias, model]
  })

/** A version of Mirostat; 0 for none. */
export const mirostat = z
  .enum(["0", "1", "2"], { error: "must be 0, 1 or 2" })
  .transform((text) => Number(text) as 0 | 1 | 2)

const LOGIT_BIAS = "must be ID=BIAS: a token id, and a number from -100 to 100"
export const logitBias = z
  .string()
  .regex(/^\d{1,9}=[+-]?(\d+\.?\d*|\.\d+)$/, { error: LOGIT_BIAS })
  .transform((text): [number, number] => {
    const [id, bias] = text.split("=")
    return [Number(id), Number(bias)]
  })
  .refine(([, bias]) => Math.abs(bias) <= 100, { error: LOGIT_BIAS })

const SIZE = "must be a size such as 512M, 8G or 12.5GiB (a number without a unit is bytes)"
const UNITS = { "": 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 } as const
export const byteSize = z
  .string()
  .regex(/^\d+(\.\d+)?\s*([kmgt](i?b)?|b)?$/i, { error: SIZE })
  .transform((text) => {
    const unit = /[kmgt]/i.exec(text)?.[0].toLowerCase() as keyof typeof UNITS | undefined
    return Math.floor(Number.parseFloat(text) * UNITS[unit ?? ""])
  })
  .refine((bytes) => bytes > 0 && Number.isSafeInteger(bytes), { error: SIZE })

const SECONDS = { "": 1, s: 1, m: 60, h: 3600 } as const
/** A time in seconds, or with a unit. @param forever also accepts -1, which gives Infinity. */
export function duration(forever = false) {
  const error = `must be a time such as 30, 90s, 5m or 1h${forever ? ", or -1 for no limit" : ""}`
  return z
    .string()
    .regex(forever ? /^(-1|\d+(\.\d+)?[smh]?)$/i : /^\d+(\.\d+)?[smh]?$/i, { error })
    .transform((text) => {
      const unit = /[smh]$/i.exec(text)?.[0].toLowerCase() as keyof typeof SECONDS | undefined
      const seconds = Number.parseFloat(text) * SECONDS[unit ?? ""]
      return seconds < 0 ? Number.POSITIVE_INFINITY : seconds
    })
}

export const nonEmpty = z.string().min(1, { error: "must not be empty" })
export const flag = z.boolean()

/** An API key that fits in an HTTP header. */
export const apiKey = z
  .string()
  .regex(/^[\x21-\x7e]+$/, { error: "must be printable ASCII without spaces, and not empty" })

const ORIGIN =
  "must be an origin such as https://chat.example or http://localhost:3000, without a path, localhost for pages from this machine, or * for all origins"
export const origin = z
  .string()
  .refine((text) => text === "*" || text === "localhost" || isOrigin(text), { error: ORIGIN })

/** Whether a text is a value of the `Origin` header. A slash after it is allowed. */
function isOrigin(text: string): boolean {
  const url = URL.parse(text)
  return url !== null && /^https?:$/.test(url.protocol) && url.origin === text.replace(/\/$/, "").toLowerCase()
}

export { LOG_LEVELS } from "../../server/observe/log-level.ts"
