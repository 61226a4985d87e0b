/** Request fields that decide how tokens are chosen: those of OpenAI's API, and vLLM's and llama-server's. */

import { z } from "zod"
import { LIMITS, list } from "../../http/limits.ts"

const integer = (min: number, max: number) => z.int().min(min).max(max)
const number = (min: number, max: number) => z.number().min(min).max(max)

const count = integer(-1, 2 ** 31 - 1)
const probability = number(0, 1)
const penalty = number(-100, 100)
const factor = z.number().gt(0).max(100)

type Problem = { code: "custom"; path: PropertyKey[]; input: unknown; message: string }

/** What a request adds to logits: by the id of a token, and for every token of a text. `-Infinity` excludes a token. */
interface LogitBias {
  readonly byToken: Record<string, number>
  readonly byText: (readonly [text: string, bias: number])[]
}

/** There can be a pair for every token, so they are checked in a loop. */
const logitBias = z
  .unknown()
  .transform((value, { issues }): LogitBias => {
    const bias: LogitBias = { byToken: {}, byText: [] }
    const found = readBias(value, bias)
    if (found !== undefined) issues.push(found)
    return bias
  })
  .meta({ type: "object", additionalProperties: {} })

function readBias(value: unknown, { byToken, byText }: LogitBias): Problem | undefined {
  const problem = (message: string, path: PropertyKey[], input: unknown): Problem => {
    return { code: "custom", path, input, message }
  }
  if (typeof value !== "object" || value === null)
    return problem("expected an object of biases by token, or a list of pairs of a token and its bias", [], value)
  const isList = Array.isArray(value)
  const pairs: [PropertyKey, unknown][] = isList ? [...value.entries()] : Object.entries(value)
  for (const [place, item] of pairs) {
    const [key, amount]: unknown[] = !isList ? [place, item] : Array.isArray(item) ? item : []
    const bias = amount === false ? Number.NEGATIVE_INFINITY : amount
    if (typeof bias !== "number" || Number.isNaN(bias))
      return problem("expected a number, or false to exclude the token", [place], item)
    if (typeof key === "number" ? Number.isInteger(key) && key >= 0 : /^\d{1,9}$/.test(String(key)))
      byToken[String(key)] = bias
    else if (typeof key === "string" && key !== "") byText.push([key, bias])
    else return problem("expected the id of a token, or a text", [place], key)
  }
  return undefined
}

/** llama-server's names and letters of the stages of sampling. */
const SAMPLERS = {
  e: "penalties",
  penalties: "penalties",
  d: "dry",
  dry: "dry",
  s: "topNSigma",
  top_n_sigma: "topNSigma",
  "top-n-sigma": "topNSigma",
  k: "topK",
  top_k: "topK",
  "top-k": "topK",
  y: "typicalP",
  typ_p: "typicalP",
  typical_p: "typicalP",
  typical: "typicalP",
  p: "topP",
  top_p: "topP",
  "top-p": "topP",
  nucleus: "topP",
  m: "minP",
  min_p: "minP",
  "min-p": "minP",
  x: "xtc",
  xtc: "xtc",
  t: "temperature",
  temp: "temperature",
  temperature: "temperature",
} as const

/** The stages that a request names; those that are not known are left out, as llama-server does. */
const samplers = z
  .union([z.string().max(64), list(z.string().max(64), 64)], { error: "expected a list of names, or their letters" })
  .transform((value) => {
    const known = new Map<string, (typeof SAMPLERS)[keyof typeof SAMPLERS]>(Object.entries(SAMPLERS))
    const names = [...value].map((name) => known.get(name))
    return names.filter((name) => name !== undefined)
  })

/** `null` means not given, as in OpenAI's API. */
export const samplerFields = {
  temperature: number(0, 100).nullish().describe("0 is greedy. Default 1."),
  dynatemp_range: number(0, 100)
    .nullish()
    .describe("The temperature varies by up to this, with the entropy of the distribution. Default 0 (off)."),
  dynatemp_exponent: number(0, 100).nullish().describe("Power of the entropy for dynatemp_range. Default 1."),
  top_p: probability.nullish().describe("Default 1 (off)."),
  top_k: count.nullish().describe("0 or -1 (default): off."),
  min_p: probability.nullish().describe("Default 0 (off)."),
  typical_p: probability.nullish().describe("Locally typical sampling. Default 1 (off)."),
  top_n_sigma: number(-1, 1e6)
    .nullish()
    .describe("Keeps logits within so many standard deviations of the greatest. Default: off, as 0 and -1 are."),
  xtc_probability: probability.nullish().describe("Chance that the top choices are excluded. Default 0 (off)."),
  xtc_threshold: probability.nullish().describe("Probability from which a token is a top choice. Default 0.1."),
  min_keep: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Tokens that these limits keep at least. Default 0."),
  presence_penalty: penalty.nullish().describe("Default 0."),
  frequency_penalty: penalty.nullish().describe("Default 0."),
  repetition_penalty: factor
    .nullish()
    .describe("Divides the positive logits of tokens already seen, and multiplies the negative ones. Default 1 (off)."),
  repeat_penalty: factor.nullish().describe("llama-server's name of repetition_penalty."),
  repeat_last_n: count.nullish().describe("Tokens that the three penalties look back at; -1 (default): all, 0: none."),
  dry_multiplier: number(0, 100).nullish().describe("Strength of DRY, which punishes repetitions. Default 0 (off)."),
  dry_base: number(0, 100).nullish().describe("Base of DRY's growth with the length of a repetition. Default 1.75."),
  dry_allowed_length: integer(0, 2 ** 31 - 1)
    .nullish()
    .describe("Repetitions up to this length are free. Default 2."),
  dry_penalty_last_n: count.nullish().describe("Tokens in which DRY looks for repetitions; -1 (default): all."),
  dry_sequence_breakers: list(z.string().min(1).max(LIMITS.stopLength), LIMITS.stops)
    .nullish()
    .describe("Texts that no repetition extends across. Default: line break, colon, quote and asterisk."),
  mirostat: z
    .literal([0, 1, 2])
    .nullish()
    .describe("Mirostat, version 1 or 2, instead of all limits. Default 0 (off)."),
  mirostat_tau: number(0, 100).nullish().describe("Mirostat's target surprise in bits. Default 5."),
  mirostat_eta: number(0, 100).nullish().describe("How fast Mirostat adapts. Default 0.1."),
  samplers: samplers
    .nullish()
    .describe("The stages of sampling that apply, by llama-server's names or letters; others are off. Default: all."),
  logit_bias: logitBias
    .nullish()
    .describe(
      "Added to the logits: an object, or a list of pairs. A token is its id, or a text, which stands for all of its tokens. `false` excludes the token.",
    ),
  bad_words: list(z.string().min(1).max(LIMITS.stopLength), LIMITS.choices)
    .nullish()
    .describe("Texts that do not occur in the answer."),
  allowed_token_ids: list(integer(0, 2 ** 31 - 1), LIMITS.nodes)
    .nullish()
    .describe("The only tokens that the answer may have."),
  seed: z
    .number()
    .refine(Number.isInteger, "expected a whole number")
    .nullish()
    .meta({ type: "integer" })
    .describe(
      "The same seed and request give the same text, whatever else is running. Counted modulo 2⁶⁴. Default, and -1: random.",
    ),
}
