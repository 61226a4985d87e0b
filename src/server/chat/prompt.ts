/** Requests → prompts, as text and as tokens. */

import type { LoadedModel } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  type ChatRequest as TemplateRequest,
} from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import { describedInFirst, describedInSystem, withCalls } from "../../text/tools/conversation.ts"
import { toolSupport } from "../../text/tools/family.ts"
import { type ToolFunction, toolJson } from "../../text/tools/format.ts"
import { encodeToRead } from "./encode.ts"
import { reasoningVariables, thinks } from "./reasoning.ts"
import type { CompletionPrompts, Conversation, Message } from "./request.ts"
import { offeredTools } from "./tools.ts"

/** A prompt to continue: its tokens, and its text for an answer that repeats it. */
export interface Prompt {
  readonly tokens: Int32Array
  readonly text: () => string
}

/**
 * The prompts of a completion. Special tokens written in a text count as those tokens, since nothing else can place them here.
 * @throws RequestError for a suffix when the model has no fill-in-the-middle tokens, and for a text that is longer than the context.
 */
export async function completionPrompts(
  model: LoadedModel,
  { prompt: list, suffix }: CompletionPrompts,
): Promise<Prompt[]> {
  const { tokenizer, name } = model
  const gap = suffix ? gapTokens(tokenizer, name) : undefined
  const after = gap === undefined ? [] : await encodeToRead(model, suffix ?? "", { special: true }, "suffix")
  const promptOf = async (item: string | readonly number[]): Promise<Prompt> => {
    const isText = typeof item === "string"
    const addBos = tokenizer.addBos && gap === undefined
    const options = { special: true, addBos }
    const before = isText ? await encodeToRead(model, item, options, "prompt") : Int32Array.from(item)
    const text = isText ? () => item : () => tokenizer.decode(item, { special: true })
    if (gap === undefined) return { tokens: before, text }
    const bos = isText && tokenizer.addBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : []
    const parts = [bos, [gap.prefix], before, [gap.suffix], after, [gap.middle]]
    return { tokens: Int32Array.from(parts.flatMap((part) => [...part])), text }
  }
  const prompts: Prompt[] = []
  for (const item of list) prompts.push(await promptOf(item))
  return prompts
}

/**
 * The tokens around prefix and suffix, in the order prefix, suffix, middle (Bavarian et al. 2022, "PSM"), which models that have
 * a token for the middle are trained with.
 */
function gapTokens({ fim }: Tokenizer, model: string): { prefix: number; suffix: number; middle: number } {
  const { prefix, suffix, middle } = fim
  if (prefix !== undefined && suffix !== undefined && middle !== undefined) return { prefix, suffix, middle }
  throw new RequestError(
    fieldMessage`'{suffix}': the model '${model}' has no tokens for text in the middle (fill-in-the-middle); leave the field out.`,
    "suffix",
    "unsupported_parameter",
  )
}

/**
 * The conversation as the model's chat template writes it, up to the beginning of the assistant's turn, or within that turn.
 * @param tools The functions that the prompt describes.
 * @throws RequestError when the model has no usable chat template, or its template rejects the conversation.
 */
export function renderChat(
  model: LoadedModel,
  conversation: Conversation,
  tools: readonly ToolFunction[] = offeredTools(conversation),
): string {
  const { chatTemplate } = model
  if (chatTemplate === undefined)
    throw new RequestError(
      `The model '${model.name}' has no chat template, so it takes no conversations; use /v1/completions.`,
      "model",
      "chat_template_missing",
    )
  const support = toolSupport(chatTemplate)
  const messages = withCalls(support, conversation.messages.map(templateMessage))
  // SmolLM3's template has another name for the tools, and prints each of them as Python does, so it is given their JSON text.
  const asText = chatTemplate.mentions("xml_tools")
  const shown = tools.map((tool) => (asText ? JSON.stringify(toolJson(tool)) : toolJson(tool)))
  const described = support.describes && tools.length > 0 ? shown : undefined
  const variables = checkedVariables(chatTemplate, conversation)
  const request: TemplateRequest = {
    messages,
    tools: described,
    addGenerationPrompt: conversation.addGenerationPrompt ?? true,
    extra: {
      ...reasoningVariables(chatTemplate, conversation),
      ...variables,
      ...(asText && { xml_tools: described }),
    },
  }
  const render = (messages: readonly ChatMessage[]) =>
    conversation.continueFinalMessage
      ? chatTemplate.renderContinuation({ ...request, messages })
      : chatTemplate.render({ ...request, messages })
  try {
    if (described !== undefined || tools.length === 0) return render(messages)
    const prompt = support.format.prompt(tools)
    try {
      return render(describedInSystem(messages, prompt))
    } catch (error) {
      if (!(error instanceof ChatTemplateError && error.code === "raised")) throw error
      return render(describedInFirst(messages, prompt))
    }
  } catch (error) {
    if (!(error instanceof ChatTemplateError)) throw error
    const field = error.code === "missing" || error.code === "syntax" ? "model" : "messages"
    throw new RequestError(fieldMessage`'{${field}}': ${error.message}.`, field, `chat_template_${error.code}`)
  }
}

/** A message under the names that templates know. */
const templateMessage = ({ role, content, name, reasoning, toolCalls, toolCallId }: Message): ChatMessage => ({
  role,
  content,
  name,
  reasoning_content: reasoning,
  tool_calls: toolCalls?.map((call) => {
    return { id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }
  }),
  tool_call_id: toolCallId,
})

/** Variables that the server sets in every rendering. */
const OWN_VARIABLES = ["messages", "tools", "xml_tools", "add_generation_prompt", "bos_token", "eos_token"]

/** The request's own variables. @throws RequestError for a variable that would change nothing. */
function checkedVariables(template: ChatTemplate, { templateVariables = {} }: Conversation): Record<string, unknown> {
  const refuse = (name: string, problem: string, code: string): never => {
    const field = fieldMessage`{templateVariables}.${name}`
    throw new RequestError(fieldMessage`'{templateVariables}.${name}': ${problem}.`, field, code)
  }
  for (const [name, value] of Object.entries(templateVariables)) {
    if (OWN_VARIABLES.includes(name)) refuse(name, "the server sets it; use the field of the request", "invalid_value")
    // A model that does not think needs no switch to be told not to.
    const needless = name === "enable_thinking" && value === false && !thinks(template)
    if (!template.mentions(name) && !needless)
      refuse(name, "the model's chat template does not know it", "unsupported_parameter")
  }
  return { ...templateVariables }
}
