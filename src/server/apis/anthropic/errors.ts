/** Errors of Anthropic's API: `{type: "error", error: {type, message}, request_id}`. The message names the field at fault. */

import type { ApiFields } from "../../chat/request.ts"
import type { ApiError, ApiErrors } from "../../http/errors.ts"
import { currentRequest } from "../../observe/record.ts"
import type { MessageError } from "./schema.ts"

const FIELDS: ApiFields = {
  model: "model",
  priority: null,
  temperature: "temperature",
  topK: "top_k",
  topP: "top_p",
  minP: null,
  presencePenalty: null,
  frequencyPenalty: null,
  repetitionPenalty: null,
  repeatLastN: null,
  typicalP: null,
  topNSigma: null,
  xtcProbability: null,
  xtcThreshold: null,
  dryMultiplier: null,
  dryBase: null,
  dryAllowedLength: null,
  dryPenaltyLastN: null,
  drySequenceBreakers: null,
  mirostat: null,
  mirostatTau: null,
  mirostatEta: null,
  dynatempRange: null,
  dynatempExponent: null,
  minKeep: null,
  temperatureLast: null,
  samplers: null,
  logitBias: null,
  logitBiasText: null,
  badWords: null,
  allowedTokenIds: null,
  seed: null,
  n: null,
  maxTokens: "max_tokens",
  minTokens: null,
  stop: "stop_sequences",
  stopTokenIds: null,
  includeStop: null,
  skipSpecialTokens: null,
  ignoreEos: null,
  logprobs: null,
  responseFormat: "output_config.format",
  regex: null,
  grammar: null,
  structuredOutputs: null,
  messages: "messages",
  precedingTokens: null,
  tools: "tools",
  "tools[].parameters": "tools[].input_schema",
  toolChoice: "tool_choice",
  parallelToolCalls: "tool_choice.disable_parallel_tool_use",
  addGenerationPrompt: null,
  continueFinalMessage: null,
  templateVariables: null,
  chatTemplate: null,
  thinking: "thinking",
  reasoningEffort: "output_config.effort",
  prompt: null,
  suffix: null,
  input: null,
  dimensions: null,
  pooling: null,
  maxLength: null,
  truncate: null,
}

type ErrorType = MessageError["error"]["type"]

const TYPES: Readonly<Record<number, ErrorType>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  504: "timeout_error",
}

export const anthropicError = (error: ApiError): MessageError => ({
  type: "error",
  error: { type: errorType(error), message: error.shown(FIELDS).message },
  request_id: currentRequest()?.id ?? null,
})

function errorType({ status, type }: ApiError): ErrorType {
  const named = TYPES[status]
  if (named !== undefined) return named
  if (status < 500) return "invalid_request_error"
  return type === "service_unavailable" ? "overloaded_error" : "api_error"
}

export const ANTHROPIC_ERRORS: ApiErrors = { prefix: "/v1/messages", shape: anthropicError }
