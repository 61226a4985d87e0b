/** OpenAI's requests → neutral ones. */

import { customFunction } from "../../chat/custom-tools.ts"
import type { ChatRequest, CompletionPrompts, Conversation, GenerationRequest, Tool } from "../../chat/request.ts"
import type { JobOptions } from "../../http/job.ts"
import type { ChatBody } from "./chat-schema.ts"
import type { ChatMessageBody, TemplateFields } from "./conversation-schema.ts"
import type { SamplingFields } from "./generation-schema.ts"
import { toMessages } from "./messages.ts"
import { requestedForm, type StructuredFields } from "./structured-schema.ts"
import { chosenTools, type OpenAiTool, type ToolFields, usesFunctions } from "./tools-schema.ts"

export const jobOptions = (
  idPrefix: string,
  {
    model,
    stream,
    priority,
    cache_salt: salt,
    cache_prompt: cached,
  }: Pick<SamplingFields, "model" | "priority"> & Partial<SamplingFields>,
): JobOptions => ({
  idPrefix,
  model,
  stream: stream ?? false,
  priority: priority ?? undefined,
  // Nothing is in the cache under a new salt.
  cacheSalt: cached === false ? crypto.randomUUID() : (salt ?? undefined),
})

type GenerationFields = Omit<SamplingFields, "n" | "stream" | "stream_options" | "model"> &
  Pick<Partial<SamplingFields>, "n"> &
  StructuredFields

/** What chat completions, completions and responses have in common. */
export const toGeneration = (body: GenerationFields): GenerationRequest => ({
  ...toSampling(body),
  n: body.n ?? undefined,
  minTokens: body.min_tokens ?? undefined,
  stop: typeof body.stop === "string" ? [body.stop].filter(Boolean) : body.stop?.filter(Boolean),
  stopEverywhere: body.stop_everywhere ?? undefined,
  stopTokenIds: body.stop_token_ids ?? undefined,
  includeStop: body.include_stop_str_in_output ?? undefined,
  skipSpecialTokens: body.skip_special_tokens ?? undefined,
  timeLimitMs: (body.t_max_predict_ms ?? 0) > 0 ? (body.t_max_predict_ms ?? undefined) : undefined,
  keptPromptTokens: body.truncate_prompt_tokens ?? undefined,
  ignoreEos: body.ignore_eos ?? undefined,
  form: requestedForm(body),
})

/** Stages of sampling that leave tokens out. */
const LIMITING: ReadonlySet<string> = new Set(["topK", "typicalP", "topP", "minP", "topNSigma", "xtc"])

const toSampling = (body: Omit<GenerationFields, keyof StructuredFields>): GenerationRequest => {
  const { samplers, logit_bias: bias, seed } = body
  const limits = samplers?.findIndex((name) => LIMITING.has(name)) ?? -1
  return {
    temperature: body.temperature ?? undefined,
    dynatempRange: body.dynatemp_range ?? undefined,
    dynatempExponent: body.dynatemp_exponent ?? undefined,
    topK: body.top_k ?? undefined,
    topP: body.top_p ?? undefined,
    minP: body.min_p ?? undefined,
    typicalP: body.typical_p ?? undefined,
    topNSigma: body.top_n_sigma ?? undefined,
    xtcProbability: body.xtc_probability ?? undefined,
    xtcThreshold: body.xtc_threshold ?? undefined,
    minKeep: body.min_keep ?? undefined,
    presencePenalty: body.presence_penalty ?? undefined,
    frequencyPenalty: body.frequency_penalty ?? undefined,
    repetitionPenalty: body.repetition_penalty ?? body.repeat_penalty ?? undefined,
    repeatLastN: body.repeat_last_n ?? undefined,
    dryMultiplier: body.dry_multiplier ?? undefined,
    dryBase: body.dry_base ?? undefined,
    dryAllowedLength: body.dry_allowed_length ?? undefined,
    dryPenaltyLastN: body.dry_penalty_last_n ?? undefined,
    drySequenceBreakers: body.dry_sequence_breakers ?? undefined,
    mirostat: body.mirostat ?? undefined,
    mirostatTau: body.mirostat_tau ?? undefined,
    mirostatEta: body.mirostat_eta ?? undefined,
    samplers: samplers ?? undefined,
    ...(limits >= 0 && { temperatureLast: (samplers?.indexOf("temperature") ?? -1) > limits }),
    logitBias: bias?.byToken,
    logitBiasText: bias?.byText,
    badWords: body.bad_words ?? undefined,
    allowedTokenIds: body.allowed_token_ids ?? undefined,
    seed: seed === -1 ? undefined : (seed ?? undefined),
  }
}

/** A limit of tokens; `undefined`: none. */
const limitOf = (...values: (number | null | undefined)[]): number | undefined => {
  const given = values.find((value) => value !== undefined && value !== null)
  return typeof given === "number" && given >= 0 ? given : undefined
}

export const toChatRequest = (body: ChatBody): ChatRequest => ({
  ...toConversation(body),
  ...toGeneration(body),
  addSpecialTokens: body.add_special_tokens ?? undefined,
  maxTokens: limitOf(body.max_completion_tokens, body.max_tokens, body.n_predict),
  logprobs: body.logprobs || body.n_probs ? (body.top_logprobs ?? body.n_probs ?? 0) : undefined,
  // They are also what a stream's token counts are counted by.
  tokenIds: body.return_token_ids || body.stream_options?.continuous_usage_stats || undefined,
})

export const toConversation = (
  body: { messages: readonly ChatMessageBody[] } & Partial<TemplateFields> & ToolFields,
): Conversation => ({
  messages: toMessages(body.messages),
  tools: usesFunctions(body) ? body.functions?.map(toFunction) : body.tools?.map(toTool),
  toolChoice: chosenTools(body),
  parallelToolCalls: usesFunctions(body) ? false : (body.parallel_tool_calls ?? undefined),
  addGenerationPrompt: body.add_generation_prompt ?? undefined,
  continueFinalMessage: body.continue_final_message ?? undefined,
  chatTemplate: body.chat_template ?? undefined,
  templateVariables: body.chat_template_kwargs ?? undefined,
  documents: body.documents ?? undefined,
  ...toThinking(body),
})

/** `none` turns thinking off. */
export const toEffort = (
  effort: TemplateFields["reasoning_effort"],
): Pick<Conversation, "thinking" | "reasoningEffort"> =>
  effort === "none" ? { thinking: false } : { reasoningEffort: effort ?? undefined }

/** Every field about thinking comes to one switch. What turns it off counts most, then an effort. */
function toThinking(
  body: Partial<TemplateFields>,
): Pick<Conversation, "thinking" | "reasoningEffort" | "thinkingBudget"> {
  const { reasoning, thinking, think } = body
  const typed = typeof thinking === "object" ? thinking : undefined
  const budgets = [
    body.thinking_token_budget,
    body.thinking_budget,
    body.reasoning_budget,
    body.reasoning_budget_tokens,
    reasoning?.max_tokens,
    typed?.budget_tokens,
  ]
  const switches = [
    body.enable_thinking,
    typeof think === "boolean" ? think : undefined,
    typeof thinking === "boolean" ? thinking : undefined,
    typed?.type === "disabled" ? false : typed?.type === "enabled" ? true : undefined,
    reasoning?.enabled,
  ]
  const thinkingBudget = budgets.find((budget) => typeof budget === "number" && budget > 0) ?? undefined
  const effort = body.reasoning_effort ?? reasoning?.effort ?? (typeof think === "string" ? think : undefined)
  if (effort === "none" || budgets.includes(0) || switches.includes(false)) return { thinking: false }
  if (effort !== undefined && effort !== null) return { reasoningEffort: effort, thinkingBudget }
  return { thinkingBudget, ...(switches.includes(true) && { thinking: true }) }
}

function toTool(tool: OpenAiTool): Tool {
  if (tool.type === "function") return toFunction(tool.function)
  const { name, description, format } = tool.custom
  const { syntax, definition } = (format?.type === "grammar" ? format.grammar : undefined) ?? {}
  return customFunction({
    name,
    description,
    ...(syntax === "regex" ? { pattern: definition } : syntax === "lark" && { lark: definition }),
  })
}

const toFunction = ({ name, description, parameters, strict }: NonNullable<ToolFields["functions"]>[number]): Tool => ({
  name,
  description: description ?? undefined,
  parameters: parameters ?? undefined,
  strict: strict ?? undefined,
})

/** A text, a list of token ids, or a list of either. */
export function listOf(value: string | number[] | (string | number[])[]): CompletionPrompts["prompt"] {
  const isIds = (list: unknown[]): list is number[] => typeof list[0] === "number"
  return typeof value === "string" || isIds(value) ? [value] : value
}
