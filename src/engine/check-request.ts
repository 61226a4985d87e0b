import { ContextOverflowError, type FieldMessage, fieldMessage, RequestError } from "../errors.ts"
import { checkConstraint } from "../grammar/constraint.ts"
import { MAX_TOP_LOGPROBS } from "../native/abi.ts"
import type { EngineLimits, GenerateRequest, SamplingParams } from "./types.ts"

/** Ranges of the sampling parameters. */
const RANGES: { [K in keyof SamplingParams]?: readonly [low: number, high: number] } = {
  temperature: [0, 100],
  topK: [0, 2 ** 31 - 1],
  topP: [0, 1],
  minP: [0, 1],
  repetitionPenalty: [1e-3, 1e3],
  frequencyPenalty: [-100, 100],
  presencePenalty: [-100, 100],
  repeatLastN: [-1, 2 ** 31 - 1],
  typicalP: [0, 1],
  topNSigma: [0, 1e6],
  xtcProbability: [0, 1],
  xtcThreshold: [0, 1],
  dryMultiplier: [0, 1e3],
  dryBase: [1e-3, 1e3],
  dryAllowedLength: [0, 2 ** 31 - 1],
  dryPenaltyLastN: [-1, 2 ** 31 - 1],
  mirostat: [0, 2],
  mirostatTau: [0, 1e3],
  mirostatEta: [0, 1e3],
  dynatempRange: [0, 100],
  dynatempExponent: [0, 100],
  minKeep: [0, 2 ** 31 - 1],
  logprobs: [0, MAX_TOP_LOGPROBS],
}

/** Sampling parameters that are whole numbers. */
const WHOLE: ReadonlySet<string> = new Set<keyof SamplingParams>([
  "topK",
  "repeatLastN",
  "dryAllowedLength",
  "dryPenaltyLastN",
  "mirostat",
  "minKeep",
  "logprobs",
])

/** Most choices of one request. */
const MAX_CHOICES = 128

/** @throws RequestError that names the field at fault and the values that it may have. */
export function checkRequest(request: GenerateRequest, limits: EngineLimits): void {
  const { maxTokens, n = 1, priority = 0, deadlineMs = 1, minTokens = 0 } = request
  checkTokens(request, limits)
  if (!(Number.isInteger(maxTokens) && maxTokens >= 1))
    refuse("maxTokens", fieldMessage`{maxTokens} is ${maxTokens}; it must be a whole number from 1 on`)
  if (!(Number.isInteger(minTokens) && minTokens >= 0 && minTokens <= maxTokens))
    refuse(
      "minTokens",
      fieldMessage`{minTokens} is ${minTokens}; it must be a whole number up to {maxTokens}, ${maxTokens}`,
    )
  checkConstrained(request)
  if (!(Number.isInteger(n) && n >= 1 && n <= MAX_CHOICES))
    refuse("n", fieldMessage`{n} is ${n}; it must be a whole number from 1 to ${MAX_CHOICES}`)
  if (isPrefillOnly(request) && n !== 1) refuse("n", fieldMessage`{n} is ${n}; a prefill-only request has one choice`)
  checkTargets(request, limits)
  if (!Number.isFinite(priority))
    refuse("priority", fieldMessage`{priority} is ${priority}; it must be a finite number`)
  if (!(deadlineMs > 0)) refuse("deadlineMs", fieldMessage`{deadlineMs} is ${deadlineMs}; it must be above 0`)
  checkSampling(request.sampling, limits)
  for (const token of request.stopTokenIds ?? [])
    if (!(token >= 0 && token < limits.nVocab))
      refuse("stopTokenIds", fieldMessage`{stopTokenIds} names token ${token}; ids are 0 to ${limits.nVocab - 1}`)
}

function refuse(param: string, message: FieldMessage, code = "invalid_value"): never {
  throw new RequestError(message, param, code)
}

/** An embedding or scores are asked for, and no new tokens. */
const isPrefillOnly = ({ pooling, targets }: GenerateRequest): boolean => pooling !== undefined || targets !== undefined

function checkTokens(request: GenerateRequest, { contextLength, nVocab }: EngineLimits): void {
  const { tokens } = request
  if (tokens.length === 0) refuse("prompt", fieldMessage`the prompt is empty; give it at least one token`)
  const prefillOnly = isPrefillOnly(request)
  if (prefillOnly ? tokens.length > contextLength : tokens.length >= contextLength)
    throw new ContextOverflowError(tokens.length, contextLength, "prompt")
  const unknown = tokens.find((token) => token < 0 || token >= nVocab)
  if (unknown !== undefined) refuse("prompt", fieldMessage`token ${unknown} does not exist; ids are 0 to ${nVocab - 1}`)
}

function checkConstrained(request: GenerateRequest): void {
  const { constraint, stopTokens, minTokens = 0 } = request
  if (constraint === undefined) return
  checkConstraint(constraint)
  const { param } = constraint
  if (isPrefillOnly(request))
    refuse(param, fieldMessage`a prefill-only request has no text for {${param}} to constrain; leave it out`)
  if (stopTokens.size === 0)
    refuse("ignoreEos", fieldMessage`a text constrained by {${param}} must be able to end; leave {ignoreEos} out`)
  if (minTokens > 0)
    refuse(
      "minTokens",
      fieldMessage`a text constrained by {${param}} ends where the constraint ends; leave {minTokens} out`,
    )
}

function checkTargets({ tokens, targets, pooling }: GenerateRequest, { nVocab }: EngineLimits): void {
  if (targets === undefined) return
  if (pooling !== undefined) refuse("targets", fieldMessage`{targets} and {pooling} exclude each other`)
  if (targets.length !== tokens.length)
    refuse("targets", fieldMessage`there are ${targets.length} targets for ${tokens.length} tokens; each token has one`)
  const unknown = targets.find((token) => token < 0 || token >= nVocab)
  if (unknown !== undefined)
    refuse("targets", fieldMessage`token ${unknown} does not exist; ids are 0 to ${nVocab - 1}`)
}

function checkSampling(sampling: SamplingParams, { nVocab }: EngineLimits): void {
  for (const [key, [low, high]] of Object.entries(RANGES)) {
    const value = sampling[key as keyof typeof RANGES]
    if (value === undefined) continue
    const whole = WHOLE.has(key)
    if (!(typeof value === "number" && value >= low && value <= high && (!whole || Number.isInteger(value))))
      refuse(
        key,
        fieldMessage`{${key}} is ${value}; it must be ${whole ? "a whole number " : ""}from ${low} to ${high}`,
      )
  }
  const check = (key: string, token: number) => {
    if (!(Number.isInteger(token) && token >= 0 && token < nVocab))
      refuse(key, fieldMessage`{${key}} names token ${token}; ids are 0 to ${nVocab - 1}`)
  }
  for (const [token, bias] of sampling.logitBias) {
    check("logitBias", token)
    if (!(bias < Number.POSITIVE_INFINITY))
      refuse(
        "logitBias",
        fieldMessage`{logitBias} of token ${token} is ${bias}; it must be a finite number or -Infinity`,
      )
  }
  for (const token of sampling.badWords.flat()) check("badWords", token)
  for (const token of sampling.allowedTokens ?? []) check("allowedTokenIds", token)
  if (sampling.allowedTokens?.size === 0)
    refuse("allowedTokenIds", fieldMessage`{allowedTokenIds} is empty, so that no token can be chosen; leave it out`)
}
