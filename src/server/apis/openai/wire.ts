/** What all routes of OpenAI's API share on the wire: the names of fields, errors, streams and token counts. */

import { version } from "../../../../package.json"
import type { LoadedModel } from "../../../engine/types.ts"
import type { Choices, TokenUsage } from "../../chat/choices.ts"
import type { ApiFields } from "../../chat/request.ts"
import { type ErrorShape, errorBody } from "../../http/errors.ts"
import type { ResponseHead } from "../../http/job.ts"
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
  chatTemplate: "chat_template",
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

const fingerprints = new WeakMap<LoadedModel, string>()

/** The same for the same weights, program and device, whose answers to the same seed are the same. */
function fingerprintOf(model: LoadedModel): string {
  const { name, gguf, config, device } = model
  const known = fingerprints.get(model)
  if (known !== undefined) return known
  const sizes = gguf.files.map(({ size }) => size)
  const parts = JSON.stringify([version, name, config.arch, sizes, gguf.tensors.size, device])
  // Programs made for llama-server expect a build's number after a b.
  const fingerprint = `b0-${new Bun.CryptoHasher("sha256").update(parts).digest("hex").slice(0, 12)}`
  fingerprints.set(model, fingerprint)
  return fingerprint
}

/** What every body and chunk of an answer has. @param requestId Chosen by the client. */
export const answerHead = (
  prefix: string,
  model: LoadedModel,
  { id, created, model: name }: ResponseHead,
  requestId: string | null | undefined,
) => ({
  id: requestId ? `${prefix}-${requestId}` : id,
  created,
  model: name,
  system_fingerprint: fingerprintOf(model),
})

/** Token counts of a stream that has not ended. */
export class RunningUsage {
  readonly #prompt: number
  #completion = 0

  constructor({ requests }: Choices) {
    this.#prompt = requests.reduce((sum, { request }) => sum + request.promptTokens.length, 0)
  }

  /** Counts one more token of the answer. */
  count(): void {
    this.#completion++
  }

  body(): Omit<UsageBody, "prompt_tokens_details"> {
    const [prompt_tokens, completion_tokens] = [this.#prompt, this.#completion]
    return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
  }
}
