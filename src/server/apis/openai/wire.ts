/** What all routes of OpenAI's API share on the wire: the names of fields, errors, streams and token counts. */

import type { TokenUsage } from "../../chat/choices.ts"
import type { ApiFields } from "../../chat/request.ts"
import { type ErrorShape, errorBody } from "../../http/errors.ts"
import type { StreamFormat } from "../../http/stream.ts"
import type { UsageBody } from "./generation-schema.ts"

/** The names of fields in chat completions, completions, embeddings, and the routes that take the same fields. */
export const OPENAI_FIELDS: ApiFields = {
  model: "model",
  priority: "priority",
  temperature: "temperature",
  topK: "top_k",
  topP: "top_p",
  minP: "min_p",
  presencePenalty: "presence_penalty",
  frequencyPenalty: "frequency_penalty",
  repetitionPenalty: "repetition_penalty",
  repeatLastN: "repeat_last_n",
  typicalP: "typical_p",
  topNSigma: "top_n_sigma",
  xtcProbability: "xtc_probability",
  xtcThreshold: "xtc_threshold",
  dryMultiplier: "dry_multiplier",
  dryBase: "dry_base",
  dryAllowedLength: "dry_allowed_length",
  dryPenaltyLastN: "dry_penalty_last_n",
  drySequenceBreakers: "dry_sequence_breakers",
  mirostat: "mirostat",
  mirostatTau: "mirostat_tau",
  mirostatEta: "mirostat_eta",
  dynatempRange: "dynatemp_range",
  dynatempExponent: "dynatemp_exponent",
  minKeep: "min_keep",
  temperatureLast: null,
  samplers: "samplers",
  logitBias: "logit_bias",
  logitBiasText: "logit_bias",
  badWords: "bad_words",
  allowedTokenIds: "allowed_token_ids",
  seed: "seed",
  n: "n",
  maxTokens: "max_tokens",
  minTokens: "min_tokens",
  stop: "stop",
  stopTokenIds: "stop_token_ids",
  includeStop: "include_stop_str_in_output",
  skipSpecialTokens: "skip_special_tokens",
  ignoreEos: "ignore_eos",
  logprobs: "logprobs",
  responseFormat: "response_format",
  regex: "regex",
  grammar: "grammar",
  structuredOutputs: "structured_outputs",
  messages: "messages",
  precedingTokens: null,
  tools: "tools",
  "tools[].parameters": "tools[].function.parameters",
  toolChoice: "tool_choice",
  parallelToolCalls: "parallel_tool_calls",
  addGenerationPrompt: "add_generation_prompt",
  continueFinalMessage: "continue_final_message",
  templateVariables: "chat_template_kwargs",
  thinking: "reasoning_effort",
  reasoningEffort: "reasoning_effort",
  prompt: "prompt",
  suffix: "suffix",
  input: "input",
  dimensions: "dimensions",
  pooling: "pooling",
  maxLength: null,
  truncate: null,
}

export const openAiError: ErrorShape = (error) => errorBody(error, OPENAI_FIELDS)

/** Server-sent events: each item as one `data:` line of JSON, then `data: [DONE]`. */
export const DATA_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `data: ${JSON.stringify(item)}\n\n`,
  end: "data: [DONE]\n\n",
  failure: (error) => `data: ${JSON.stringify(openAiError(error))}\n\n`,
  ping: ": ping\n\n",
}

export const usageBody = ({
  promptTokens,
  cachedTokens,
  completionTokens,
  reasoningTokens,
}: TokenUsage): UsageBody => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
  prompt_tokens_details: { cached_tokens: cachedTokens },
  ...(reasoningTokens !== undefined && { completion_tokens_details: { reasoning_tokens: reasoningTokens } }),
})
