import type { EngineLimits, SamplingParams } from "../../engine/types.ts"
import type { ChatRequest } from "../apis/openai/chat-schema.ts"
import type { CompletionRequest } from "../apis/openai/completions-schema.ts"
import { invalidRequest } from "../http/errors.ts"

/** The request's sampling with OpenAI's defaults filled in. Without a seed a random one is drawn, so `seed` is always set. */
export function samplingOf(
  body: ChatRequest | CompletionRequest,
  limits: EngineLimits,
  logprobs: number | undefined,
): SamplingParams {
  return {
    temperature: body.temperature ?? 1,
    topK: Math.max(0, body.top_k ?? 0),
    topP: body.top_p ?? 1,
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    frequencyPenalty: body.frequency_penalty ?? 0,
    presencePenalty: body.presence_penalty ?? 0,
    logitBias: logitBias(body.logit_bias ?? {}, limits),
    seed: BigInt.asUintN(64, typeof body.seed === "number" ? BigInt(body.seed) : randomSeed()),
    logprobs,
  }
}

const randomSeed = (): bigint => crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n

function logitBias(byToken: Record<string, number>, limits: EngineLimits): Map<number, number> {
  const bias = new Map<number, number>()
  for (const [key, value] of Object.entries(byToken)) {
    const token = Number(key)
    if (token >= limits.nVocab)
      throw invalidRequest(
        `'logit_bias': token ${key} does not exist; ids are 0 to ${limits.nVocab - 1}.`,
        "logit_bias",
        "invalid_value",
      )
    bias.set(token, value)
  }
  return bias
}

export const stopStrings = (stop: string | string[] | null | undefined): string[] =>
  stop === undefined || stop === null ? [] : typeof stop === "string" ? [stop] : stop
