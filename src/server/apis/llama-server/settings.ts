/** llama-server's parameters of generation: defaults, the neutral request that they stand for, and how answers repeat them. */

import type { LoadedModel } from "../../../engine/types.ts"
import { MAX_TOP_LOGPROBS } from "../../../native/abi.ts"
import type { GenerationRequest, RequestedForm, SamplerName } from "../../chat/request.ts"
import { invalidRequest } from "../../http/errors.ts"
import type { GenerationFields } from "./schema.ts"

/** llama-server's defaults. Fields that are missing here default to what turns them off. */
const DEFAULTS = {
  temperature: 0.8,
  dynatemp_range: 0,
  dynatemp_exponent: 1,
  top_k: 40,
  top_p: 0.95,
  min_p: 0.05,
  top_n_sigma: -1,
  xtc_probability: 0,
  xtc_threshold: 0.1,
  typical_p: 1,
  repeat_last_n: 64,
  repeat_penalty: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  dry_multiplier: 0,
  dry_base: 1.75,
  dry_allowed_length: 2,
  dry_penalty_last_n: -1,
  dry_sequence_breakers: ["\n", ":", '"', "*"],
  mirostat: 0,
  mirostat_tau: 5,
  mirostat_eta: 0.1,
  min_keep: 0,
} as const

/** A sampler's names: llama-server's, its letter, and ours. */
const SAMPLERS: readonly (readonly [name: string, letter: string, own: SamplerName])[] = [
  ["penalties", "e", "penalties"],
  ["dry", "d", "dry"],
  ["top_n_sigma", "s", "topNSigma"],
  ["top_k", "k", "topK"],
  ["typ_p", "y", "typicalP"],
  ["top_p", "p", "topP"],
  ["min_p", "m", "minP"],
  ["xtc", "x", "xtc"],
  ["temperature", "t", "temperature"],
]

/** The defaults that differ from those of OpenAI's API, as fields of a chat. The order of samplers puts the temperature last. */
export const CHAT_DEFAULTS = {
  temperature: DEFAULTS.temperature,
  top_k: DEFAULTS.top_k,
  top_p: DEFAULTS.top_p,
  min_p: DEFAULTS.min_p,
  repeat_last_n: DEFAULTS.repeat_last_n,
  samplers: SAMPLERS.map(([name]) => name),
}

/** What stands for a random seed. */
const RANDOM_SEED = 4294967295

/** A request's parameters with every default filled in, under their names in llama-server. */
export type Settings = ReturnType<typeof settingsOf>

export function settingsOf(body: GenerationFields) {
  const value = <K extends keyof typeof DEFAULTS>(name: K) => body[name] ?? DEFAULTS[name]
  const stop = typeof body.stop === "string" ? [body.stop] : (body.stop ?? [])
  const seed = body.seed ?? RANDOM_SEED
  return {
    seed: seed < 0 ? RANDOM_SEED : seed,
    temperature: Math.max(0, value("temperature")),
    dynatemp_range: value("dynatemp_range"),
    dynatemp_exponent: value("dynatemp_exponent"),
    top_k: value("top_k"),
    top_p: clamped(value("top_p")),
    min_p: clamped(value("min_p")),
    top_n_sigma: value("top_n_sigma"),
    xtc_probability: value("xtc_probability"),
    xtc_threshold: value("xtc_threshold"),
    typical_p: clamped(value("typical_p")),
    repeat_last_n: value("repeat_last_n"),
    repeat_penalty: value("repeat_penalty"),
    presence_penalty: value("presence_penalty"),
    frequency_penalty: value("frequency_penalty"),
    dry_multiplier: value("dry_multiplier"),
    dry_base: value("dry_base"),
    dry_allowed_length: value("dry_allowed_length"),
    dry_penalty_last_n: value("dry_penalty_last_n"),
    dry_sequence_breakers: value("dry_sequence_breakers"),
    mirostat: value("mirostat"),
    mirostat_tau: value("mirostat_tau"),
    mirostat_eta: value("mirostat_eta"),
    // A sampler of llama-server that this server does not have, and that is off.
    adaptive_target: -1,
    adaptive_decay: 0.9,
    stop: stop.filter((text) => text !== ""),
    max_tokens: body.n_predict ?? body.max_tokens ?? -1,
    n_predict: body.n_predict ?? body.max_tokens ?? -1,
    n_keep: 0,
    n_discard: 0,
    ignore_eos: body.ignore_eos ?? false,
    stream: body.stream ?? false,
    logit_bias: biases(body.logit_bias ?? []),
    n_probs: body.n_probs ?? 0,
    min_keep: value("min_keep"),
    grammar: body.grammar ?? "",
    grammar_lazy: false,
    grammar_triggers: [],
    preserved_tokens: [],
    samplers: samplerNames(body.samplers ?? SAMPLERS.map(([name]) => name)),
    "speculative.types": "none",
    timings_per_token: body.timings_per_token ?? false,
    post_sampling_probs: body.post_sampling_probs ?? false,
    backend_sampling: false,
    lora: [],
  }
}

const clamped = (share: number): number => Math.min(1, Math.max(0, share))

function samplerNames(samplers: string | readonly string[]): string[] {
  const known = (wanted: string) =>
    SAMPLERS.find(([name, letter]) => name === wanted || letter === wanted || name === wanted.replace("typical", "typ"))
  return [...samplers].flatMap((name) => known(name)?.[0] ?? [])
}

/** A bias of a token, or of all tokens of a text. */
interface Bias {
  readonly token: number | string
  readonly bias: number
}

function biases(given: NonNullable<GenerationFields["logit_bias"]>): Bias[] {
  const pairs: (readonly unknown[])[] = Array.isArray(given)
    ? given
    : Object.entries(given).map(([key, bias]) => [/^\d+$/.test(key) ? Number(key) : key, bias])
  return pairs.map(([token, value], i) => {
    const bias = value === false ? Number.NEGATIVE_INFINITY : value
    const sound = typeof token === "string" || (Number.isInteger(token) && (token as number) >= 0)
    if (sound && typeof bias === "number") return { token: token as string | number, bias }
    throw invalidRequest(
      `'logit_bias[${i}]': expected a token and a number, or false.`,
      `logit_bias[${i}]`,
      "invalid_type",
    )
  })
}

/** The neutral request. @throws ApiError 400 */
export function toGeneration(settings: Settings, body: GenerationFields): GenerationRequest {
  const { n_predict, n_probs, seed, stop, samplers } = settings
  if (n_probs > MAX_TOP_LOGPROBS)
    throw invalidRequest(`'n_probs': this server reports at most ${MAX_TOP_LOGPROBS}.`, "n_probs", "invalid_value")
  const own = SAMPLERS.filter(([name]) => samplers.includes(name)).map(([, , sampler]) => sampler)
  return {
    temperature: settings.temperature,
    dynatempRange: settings.dynatemp_range,
    dynatempExponent: settings.dynatemp_exponent,
    topK: settings.top_k,
    topP: settings.top_p,
    minP: settings.min_p,
    topNSigma: settings.top_n_sigma,
    xtcProbability: settings.xtc_probability,
    xtcThreshold: settings.xtc_threshold,
    typicalP: settings.typical_p,
    repeatLastN: settings.repeat_last_n,
    repetitionPenalty: settings.repeat_penalty,
    presencePenalty: settings.presence_penalty,
    frequencyPenalty: settings.frequency_penalty,
    dryMultiplier: settings.dry_multiplier,
    dryBase: settings.dry_base,
    dryAllowedLength: settings.dry_allowed_length,
    dryPenaltyLastN: settings.dry_penalty_last_n,
    drySequenceBreakers: settings.dry_sequence_breakers,
    mirostat: settings.mirostat,
    mirostatTau: settings.mirostat_tau,
    mirostatEta: settings.mirostat_eta,
    minKeep: settings.min_keep,
    temperatureLast: true,
    ...(own.length < SAMPLERS.length && { samplers: own }),
    logitBias: Object.fromEntries(
      settings.logit_bias.flatMap(({ token, bias }) => (typeof token === "number" ? [[String(token), bias]] : [])),
    ),
    logitBiasText: settings.logit_bias.flatMap(({ token, bias }) =>
      typeof token === "string" ? [[token, bias] as const] : [],
    ),
    ...(seed !== RANDOM_SEED && { seed }),
    n: body.n_cmpl ?? body.n ?? 1,
    // An answer of no tokens computes the prompt all the same.
    maxTokens: n_predict < 0 ? undefined : Math.max(1, n_predict),
    stop,
    ignoreEos: settings.ignore_eos,
    // Probabilities after sampling are computed from all that the engine reports.
    logprobs: n_probs === 0 ? undefined : settings.post_sampling_probs ? MAX_TOP_LOGPROBS : n_probs,
    form: formOf(body),
  }
}

function formOf({ grammar, json_schema: schema }: GenerationFields): RequestedForm | undefined {
  if (grammar) return { field: "grammar", form: { type: "grammar", grammar } }
  if (schema === undefined || schema === null) return undefined
  return { field: "responseFormat", form: { type: "json_schema", schema } }
}

/** The settings as answers repeat them: biases by token id, also those of the end tokens that are excluded. */
export function shownSettings(settings: Settings, { tokenizer }: LoadedModel): Record<string, unknown> {
  const ends = settings.ignore_eos ? [...tokenizer.eogIds].map((token) => ({ token, bias: -Infinity })) : []
  const given = settings.logit_bias.filter(({ token }) => typeof token === "number")
  return { ...settings, logit_bias: [...given, ...ends] }
}
