/** Errors of Ollama's API: `{error: message}`. The message names the field at fault. */

import type { ApiFields } from "../../chat/request.ts"
import type { ApiErrors, ErrorShape } from "../../http/errors.ts"

/** The names of fields of `/api/chat` and `/api/embed`. */
export const FIELDS: ApiFields = {
  model: "model",
  priority: null,
  temperature: "options.temperature",
  topK: "options.top_k",
  topP: "options.top_p",
  minP: "options.min_p",
  presencePenalty: "options.presence_penalty",
  frequencyPenalty: "options.frequency_penalty",
  repetitionPenalty: "options.repeat_penalty",
  repeatLastN: "options.repeat_last_n",
  typicalP: "options.typical_p",
  topNSigma: null,
  xtcProbability: null,
  xtcThreshold: null,
  dryMultiplier: null,
  dryBase: null,
  dryAllowedLength: null,
  dryPenaltyLastN: null,
  drySequenceBreakers: null,
  mirostat: "options.mirostat",
  mirostatTau: "options.mirostat_tau",
  mirostatEta: "options.mirostat_eta",
  dynatempRange: null,
  dynatempExponent: null,
  minKeep: null,
  temperatureLast: null,
  samplers: null,
  logitBias: null,
  logitBiasText: null,
  badWords: null,
  allowedTokenIds: null,
  seed: "options.seed",
  n: null,
  maxTokens: "options.num_predict",
  minTokens: null,
  stop: "options.stop",
  stopTokenIds: null,
  includeStop: null,
  skipSpecialTokens: null,
  ignoreEos: null,
  logprobs: "top_logprobs",
  responseFormat: "format",
  regex: null,
  grammar: null,
  structuredOutputs: null,
  messages: "messages",
  precedingTokens: "context",
  tools: "tools",
  "tools[].parameters": "tools[].function.parameters",
  toolChoice: null,
  parallelToolCalls: null,
  addGenerationPrompt: null,
  continueFinalMessage: null,
  templateVariables: null,
  chatTemplate: null,
  thinking: "think",
  reasoningEffort: "think",
  prompt: "prompt",
  suffix: "suffix",
  input: "input",
  dimensions: "dimensions",
  pooling: null,
  maxLength: "options.num_ctx",
  truncate: "truncate",
}

/** Those of `/api/generate` and `/api/embeddings`, whose text is their `prompt`. */
export const PROMPT_FIELDS: ApiFields = { ...FIELDS, messages: "prompt", input: "prompt" }

export const ollamaError =
  (fields: ApiFields): ErrorShape =>
  (error) => ({ error: error.shown(fields).message })

export const OLLAMA_ERRORS: ApiErrors = { prefix: "/api", shape: ollamaError(FIELDS) }
