/** A request's sampling in the engine's terms. */

import { badWordTokens, breakerTokens, encodeInside } from "../../engine/token-rules.ts"
import { type EngineLimits, GREEDY, type LoadedModel, type SamplingParams } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import type { GenerationRequest, SamplerName } from "./request.ts"

/** The value of everything that a stage of sampling reads where the stage is left out. */
const OFF: Readonly<Record<SamplerName, Partial<SamplingParams>>> = {
  penalties: { repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0 },
  dry: { dryMultiplier: 0 },
  topNSigma: { topNSigma: 0 },
  topK: { topK: 0 },
  typicalP: { typicalP: 1 },
  topP: { topP: 1 },
  minP: { minP: 0 },
  xtc: { xtcProbability: 0 },
  temperature: { temperature: 1, dynatempRange: 0 },
}

/**
 * A request's sampling with every default filled in. Without a seed a random one is drawn, so `seed` is always set.
 * @throws RequestError for a token that does not exist, and for too many words.
 */
export function samplingOf({ engine, tokenizer }: LoadedModel, options: GenerationRequest): SamplingParams {
  const { limits } = engine
  const { allowedTokenIds, samplers, dryMultiplier = GREEDY.dryMultiplier } = options
  const bias = [
    ...Object.entries(options.logitBias ?? {}),
    ...(options.logitBiasText ?? []).flatMap(([text, value]) =>
      encodeInside(tokenizer, text).map((token) => [token, value] as const),
    ),
  ]
  const sampling: SamplingParams = {
    temperature: options.temperature ?? 1,
    topK: Math.max(0, options.topK ?? GREEDY.topK),
    topP: options.topP ?? GREEDY.topP,
    minP: options.minP ?? GREEDY.minP,
    repetitionPenalty: options.repetitionPenalty ?? GREEDY.repetitionPenalty,
    frequencyPenalty: options.frequencyPenalty ?? GREEDY.frequencyPenalty,
    presencePenalty: options.presencePenalty ?? GREEDY.presencePenalty,
    repeatLastN: options.repeatLastN ?? GREEDY.repeatLastN,
    typicalP: options.typicalP ?? GREEDY.typicalP,
    topNSigma: Math.max(0, options.topNSigma ?? GREEDY.topNSigma),
    xtcProbability: options.xtcProbability ?? GREEDY.xtcProbability,
    xtcThreshold: options.xtcThreshold ?? GREEDY.xtcThreshold,
    dryMultiplier,
    dryBase: options.dryBase ?? GREEDY.dryBase,
    dryAllowedLength: options.dryAllowedLength ?? GREEDY.dryAllowedLength,
    dryPenaltyLastN: options.dryPenaltyLastN ?? GREEDY.dryPenaltyLastN,
    drySequenceBreakers: dryMultiplier === 0 ? [] : breakerTokens(tokenizer, options.drySequenceBreakers),
    mirostat: options.mirostat ?? GREEDY.mirostat,
    mirostatTau: options.mirostatTau ?? GREEDY.mirostatTau,
    mirostatEta: options.mirostatEta ?? GREEDY.mirostatEta,
    dynatempRange: options.dynatempRange ?? GREEDY.dynatempRange,
    dynatempExponent: options.dynatempExponent ?? GREEDY.dynatempExponent,
    minKeep: options.minKeep ?? GREEDY.minKeep,
    temperatureLast: options.temperatureLast ?? GREEDY.temperatureLast,
    logitBias: new Map(bias.map(([id, value]) => [knownToken("logitBias", id, limits), value])),
    badWords: badWordTokens(tokenizer, options.badWords),
    allowedTokens:
      allowedTokenIds && new Set(allowedTokenIds.map((token) => knownToken("allowedTokenIds", token, limits))),
    seed: BigInt.asUintN(64, options.seed === undefined ? randomSeed() : BigInt(options.seed)),
    generator: "philox",
    logprobs: options.logprobs,
  }
  for (const name of Object.keys(OFF) as SamplerName[])
    if (samplers?.includes(name) === false) Object.assign(sampling, OFF[name])
  return sampling
}

const randomSeed = (): bigint => crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n

/** The number of a token. @throws RequestError that names the field where there is no such token. */
export function knownToken(field: string, id: string | number, { nVocab }: EngineLimits): number {
  const token = Number(id)
  if (token >= 0 && token < nVocab) return token
  throw new RequestError(
    fieldMessage`'{${field}}': token ${id} does not exist; ids are 0 to ${nVocab - 1}.`,
    field,
    "invalid_value",
  )
}
