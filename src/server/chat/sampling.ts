import type { EngineLimits, SamplingParams } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import type { SamplingOptions } from "./request.ts"

/**
 * A request's sampling with every default filled in. Without a seed a random one is drawn, so `seed` is always set.
 * @param logprobs Alternatives to report for each token; `undefined`: no log-probabilities.
 * @throws RequestError for a bias of a token that does not exist.
 */
export function samplingOf(
  options: SamplingOptions,
  limits: EngineLimits,
  logprobs: number | undefined,
): SamplingParams {
  return {
    temperature: options.temperature ?? 1,
    topK: Math.max(0, options.topK ?? 0),
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    frequencyPenalty: options.frequencyPenalty ?? 0,
    presencePenalty: options.presencePenalty ?? 0,
    logitBias: logitBias(options.logitBias ?? {}, limits),
    seed: BigInt.asUintN(64, options.seed === undefined ? randomSeed() : BigInt(options.seed)),
    logprobs,
  }
}

const randomSeed = (): bigint => crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n

function logitBias(byToken: Readonly<Record<string, number>>, { nVocab }: EngineLimits): Map<number, number> {
  const bias = new Map<number, number>()
  for (const [id, value] of Object.entries(byToken)) {
    const token = Number(id)
    if (token >= nVocab)
      throw new RequestError(
        fieldMessage`'{logitBias}': token ${id} does not exist; ids are 0 to ${nVocab - 1}.`,
        "logitBias",
        "invalid_value",
      )
    bias.set(token, value)
  }
  return bias
}
