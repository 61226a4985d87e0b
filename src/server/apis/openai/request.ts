/** OpenAI's requests → neutral ones. */

import { contentText } from "../../../text/index.ts"
import type {
  ChatRequest,
  CompletionPrompts,
  Conversation,
  GenerationRequest,
  Message,
  Tool,
  ToolChoice,
} from "../../chat/request.ts"
import type { JobOptions } from "../../http/job.ts"
import type { ChatBody } from "./chat-schema.ts"
import type { ChatMessageBody, TemplateFields } from "./conversation-schema.ts"
import type { SamplingFields } from "./generation-schema.ts"
import { requestedForm, type StructuredFields } from "./structured-schema.ts"
import type { ToolFields } from "./tools-schema.ts"

export const jobOptions = (
  idPrefix: string,
  { model, stream, priority, cache_salt: salt }: Pick<SamplingFields, "model" | "priority"> & Partial<SamplingFields>,
): JobOptions => ({
  idPrefix,
  model,
  stream: stream ?? false,
  priority: priority ?? undefined,
  cacheSalt: salt ?? undefined,
})

/** What chat completions, completions and responses have in common. */
export const toGeneration = (
  body: Omit<SamplingFields, "n" | "stream" | "stream_options"> & Pick<Partial<SamplingFields>, "n"> & StructuredFields,
): GenerationRequest => ({
  temperature: body.temperature ?? undefined,
  topK: body.top_k ?? undefined,
  topP: body.top_p ?? undefined,
  minP: body.min_p ?? undefined,
  presencePenalty: body.presence_penalty ?? undefined,
  frequencyPenalty: body.frequency_penalty ?? undefined,
  repetitionPenalty: body.repetition_penalty ?? undefined,
  logitBias: body.logit_bias ?? undefined,
  seed: body.seed ?? undefined,
  n: body.n ?? undefined,
  minTokens: body.min_tokens ?? undefined,
  stop: typeof body.stop === "string" ? [body.stop] : (body.stop ?? undefined),
  ignoreEos: body.ignore_eos ?? undefined,
  form: requestedForm(body),
})

export const toChatRequest = (body: ChatBody): ChatRequest => ({
  ...toConversation(body),
  ...toGeneration(body),
  maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
  logprobs: body.logprobs ? (body.top_logprobs ?? 0) : undefined,
})

export const toConversation = (
  body: { messages: readonly ChatMessageBody[] } & Partial<TemplateFields> & ToolFields,
): Conversation => ({
  messages: body.messages.map(toMessage),
  tools: body.tools?.map(toTool),
  toolChoice: toToolChoice(body.tool_choice),
  parallelToolCalls: body.parallel_tool_calls ?? undefined,
  addGenerationPrompt: body.add_generation_prompt ?? undefined,
  continueFinalMessage: body.continue_final_message ?? undefined,
  templateVariables: body.chat_template_kwargs ?? undefined,
  ...toEffort(body.reasoning_effort),
})

/** `none` turns thinking off. */
export const toEffort = (
  effort: TemplateFields["reasoning_effort"],
): Pick<Conversation, "thinking" | "reasoningEffort"> =>
  effort === "none" ? { thinking: false } : { reasoningEffort: effort ?? undefined }

/** `developer` is a newer name of `system`, which templates do not know. */
const toMessage = ({
  role,
  content,
  name,
  tool_calls: calls,
  tool_call_id: callId,
  ...rest
}: ChatMessageBody): Message => ({
  role: role === "developer" ? "system" : role,
  content: contentText(content),
  name: name ?? undefined,
  reasoning: rest.reasoning_content ?? rest.reasoning ?? undefined,
  toolCalls: calls?.map(({ id, function: { name, arguments: args } }) => ({ id, name, arguments: args })),
  toolCallId: callId ?? undefined,
})

const toTool = ({
  function: { name, description, parameters, strict },
}: NonNullable<ToolFields["tools"]>[number]): Tool => ({
  name,
  description: description ?? undefined,
  parameters: parameters ?? undefined,
  strict: strict ?? undefined,
})

function toToolChoice(choice: ToolFields["tool_choice"]): ToolChoice | undefined {
  if (choice === undefined || choice === null) return undefined
  return typeof choice === "object" ? { function: choice.function.name } : choice
}

/** A text, a list of token ids, or a list of either. */
export function listOf(value: string | number[] | (string | number[])[]): CompletionPrompts["prompt"] {
  const isIds = (list: unknown[]): list is number[] => typeof list[0] === "number"
  return typeof value === "string" || isIds(value) ? [value] : value
}
