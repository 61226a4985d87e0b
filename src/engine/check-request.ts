import { RequestError } from "../errors.ts"
import { checkConstraint } from "../grammar/constraint.ts"
import { snakeCase } from "../json.ts"
import { MAX_TOP_LOGPROBS } from "../native/abi.ts"
import type { EngineLimits, GenerateRequest, SamplingParams } from "./types.ts"

/** Ranges of the sampling parameters, named as in OpenAI's API. */
const RANGES: { [K in keyof SamplingParams]?: readonly [low: number, high: number] } = {
  temperature: [0, 100],
  topK: [0, 2 ** 31 - 1],
  topP: [0, 1],
  minP: [0, 1],
  repetitionPenalty: [1e-3, 1e3],
  frequencyPenalty: [-100, 100],
  presencePenalty: [-100, 100],
  logprobs: [0, MAX_TOP_LOGPROBS],
}

/** Choices of one request at most. */
export const MAX_CHOICES = 128

/** @throws RequestError naming the parameter that cannot be served, and what can. */
export function checkRequest(request: GenerateRequest, { contextLength, nVocab }: EngineLimits): void {
  const { tokens, maxTokens, sampling } = request
  const refuse = (param: string, message: string, code = "invalid_value"): never => {
    throw new RequestError(message, param, code)
  }
  if (tokens.length === 0) refuse("prompt", "the prompt is empty; give it at least one token")
  const reads = request.pooling !== undefined || request.targets !== undefined
  if (reads ? tokens.length > contextLength : tokens.length >= contextLength) {
    refuse(
      "prompt",
      `the prompt has ${tokens.length} tokens, the context holds ${contextLength}${reads ? "" : " with the completion"}; shorten it, or raise --ctx-size`,
      "context_length_exceeded",
    )
  }
  const unknown = tokens.find((token) => token < 0 || token >= nVocab)
  if (unknown !== undefined) refuse("prompt", `token ${unknown} does not exist; ids are 0 to ${nVocab - 1}`)
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1)) {
    refuse("max_tokens", `max_tokens is ${maxTokens}; it must be a whole number from 1 on`)
  }
  const { n = 1, priority = 0, deadlineMs = 1, constraint, stopTokens, minTokens = 0 } = request
  if (!(Number.isInteger(minTokens) && minTokens >= 0 && minTokens <= maxTokens)) {
    refuse("min_tokens", `min_tokens is ${minTokens}; it must be a whole number up to max_tokens, ${maxTokens}`)
  }
  if (constraint) {
    checkConstraint(constraint)
    const { param } = constraint
    if (reads) refuse(param, `a prompt that is only read has no text for ${param} to constrain; leave it out`)
    if (stopTokens.size === 0) refuse("ignore_eos", `under ${param} a text has to end somewhere; leave ignore_eos out`)
    if (minTokens > 0) refuse("min_tokens", `under ${param} a text ends where it has to; leave min_tokens out`)
  }
  if (!(Number.isInteger(n) && n >= 1 && n <= MAX_CHOICES)) {
    refuse("n", `n is ${n}; it must be a whole number from 1 to ${MAX_CHOICES}`)
  }
  if (reads && n !== 1) refuse("n", `n is ${n}; a prompt that is only read is read once`)
  checkTargets(request, nVocab, refuse)
  if (!Number.isFinite(priority)) refuse("priority", `priority is ${priority}; it must be a finite number`)
  if (!(deadlineMs > 0)) refuse("deadline_ms", `deadline_ms is ${deadlineMs}; it must be above 0`)
  for (const [name, [low, high]] of Object.entries(RANGES)) {
    const value = sampling[name as keyof typeof RANGES]
    const whole = name === "topK" || name === "logprobs"
    if (value === undefined) continue
    if (!(typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value)))) {
      refuse(
        snakeCase(name),
        `${snakeCase(name)} is ${value}; it must be ${whole ? "a whole number " : ""}from ${low} to ${high}`,
      )
    }
  }
  for (const [token, bias] of sampling.logitBias) {
    if (!(Number.isInteger(token) && token >= 0 && token < nVocab)) {
      refuse("logit_bias", `logit_bias names token ${token}; ids are 0 to ${nVocab - 1}`)
    }
    if (!Number.isFinite(bias))
      refuse("logit_bias", `logit_bias of token ${token} is ${bias}; it must be a finite number`)
  }
}

function checkTargets(
  { tokens, targets, pooling }: GenerateRequest,
  nVocab: number,
  refuse: (param: string, message: string) => never,
): void {
  if (targets === undefined) return
  if (pooling !== undefined) refuse("targets", "targets and pooling exclude each other")
  if (targets.length !== tokens.length)
    refuse("targets", `there are ${targets.length} targets for ${tokens.length} tokens; each token has one`)
  const unknown = targets.find((token) => token < 0 || token >= nVocab)
  if (unknown !== undefined) refuse("targets", `token ${unknown} does not exist; ids are 0 to ${nVocab - 1}`)
}
