/** Request bodies → prompt tokens. */

import type { LoadedModel } from "../../engine/types.ts"
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  contentText,
  endsInReasoning,
  type ReasoningMarks,
  reasoningMarks,
  type ChatRequest as TemplateRequest,
} from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import { describedInFirst, describedInSystem, toolJson, toolSupport, withCalls } from "../../text/tools/index.ts"
import type { ChatRequest } from "../apis/openai/chat-schema.ts"
import type { CompletionRequest } from "../apis/openai/completions-schema.ts"
import type { ChatMessageBody } from "../apis/openai/conversation-schema.ts"
import { invalidRequest } from "../http/errors.ts"
import { encodeToRead } from "./encode.ts"
import { offeredTools, type ToolFields } from "./tools.ts"

/** A completion prompt: its tokens, and its text for `echo`. */
export interface Prompt {
  readonly tokens: Int32Array
  readonly text: () => string
}

/**
 * Every prompt of the request; special tokens written in a text count as those tokens, since nothing else can place them here.
 * @throws ApiError 400 when there is a suffix, and the model has no tokens to say so.
 */
export async function completionPrompts(
  model: LoadedModel,
  { prompt, suffix }: Pick<CompletionRequest, "prompt" | "suffix">,
): Promise<Prompt[]> {
  const { tokenizer, name } = model
  const isIds = (value: unknown[]): value is number[] => typeof value[0] === "number"
  const list: (string | number[])[] = typeof prompt === "string" ? [prompt] : isIds(prompt) ? [prompt] : prompt
  const marks = suffix ? gapMarks(tokenizer, name) : undefined
  const after = marks === undefined ? [] : await encodeToRead(model, suffix ?? "", { special: true }, "suffix")
  const promptOf = async (item: string | number[]): Promise<Prompt> => {
    const isText = typeof item === "string"
    const addBos = tokenizer.addBos && marks === undefined
    const options = { special: true, addBos }
    const before = isText ? await encodeToRead(model, item, options, "prompt") : Int32Array.from(item)
    const text = isText ? () => item : () => tokenizer.decode(item, { special: true })
    if (marks === undefined) return { tokens: before, text }
    const bos = isText && tokenizer.addBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : []
    const parts = [bos, [marks.prefix], before, [marks.suffix], after, [marks.middle]]
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
function gapMarks({ fim }: Tokenizer, model: string): { prefix: number; suffix: number; middle: number } {
  const { prefix, suffix, middle } = fim
  if (prefix !== undefined && suffix !== undefined && middle !== undefined) return { prefix, suffix, middle }
  throw invalidRequest(
    `'suffix': the model '${model}' has no tokens for text in the middle (fill-in-the-middle); leave the field out.`,
    "suffix",
    "unsupported_parameter",
  )
}

/** What a conversation's prompt is made of. */
export interface Conversation extends ToolFields {
  readonly messages: readonly ChatMessageBody[]
  readonly add_generation_prompt?: boolean | null
  readonly continue_final_message?: boolean | null
  readonly chat_template_kwargs?: Readonly<Record<string, unknown>> | null
  readonly reasoning_effort?: ChatRequest["reasoning_effort"]
}

/**
 * The conversation as the model's chat template writes it, ready for the assistant's turn, or within it.
 * @throws ApiError 400 when the model has no usable chat template, or its template refuses the conversation.
 */
export function renderChat(model: LoadedModel, conversation: Conversation): string {
  const { chatTemplate } = model
  if (chatTemplate === undefined)
    throw invalidRequest(
      `The model '${model.name}' has no chat template, so it takes no conversations; use /v1/completions.`,
      "model",
      "chat_template_missing",
    )
  const support = toolSupport(chatTemplate)
  const tools = offeredTools(conversation)
  const messages = withCalls(support, conversation.messages.map(templateMessage))
  // SmolLM3 has another name for them, and turns each into text in Python's way, for which there is none here.
  const asText = chatTemplate.mentions("xml_tools")
  const shown = tools.map((tool) => (asText ? JSON.stringify(toolJson(tool)) : toolJson(tool)))
  const described = support.describes && tools.length > 0 ? shown : undefined
  const request: TemplateRequest = {
    messages,
    tools: described,
    addGenerationPrompt: conversation.add_generation_prompt ?? true,
    extra: { ...templateVariables(chatTemplate, conversation), ...(asText && { xml_tools: described }) },
  }
  const render = (messages: readonly ChatMessage[]) =>
    conversation.continue_final_message
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
    const param = error.code === "missing" || error.code === "syntax" ? "model" : "messages"
    throw invalidRequest(`'${param}': ${error.message}.`, param, `chat_template_${error.code}`)
  }
}

/** A message as templates know it: `developer` is newer than they are, and means `system`. */
const templateMessage = (message: ChatMessageBody): ChatMessage => ({
  role: message.role === "developer" ? "system" : message.role,
  content: message.content,
  name: message.name ?? undefined,
  reasoning_content: message.reasoning_content ?? message.reasoning ?? undefined,
  tool_calls: message.tool_calls ?? undefined,
  tool_call_id: message.tool_call_id ?? undefined,
})

/** Variables that every rendering sets by itself. */
const OWN_VARIABLES = ["messages", "tools", "xml_tools", "add_generation_prompt", "bos_token", "eos_token"]

/** @throws ApiError 400 for a variable that would change nothing. */
function templateVariables(template: ChatTemplate, conversation: Conversation): Record<string, unknown> {
  const variables: Record<string, unknown> = { ...conversation.chat_template_kwargs }
  for (const [name, value] of Object.entries(variables)) {
    const param = `chat_template_kwargs.${name}`
    if (OWN_VARIABLES.includes(name))
      throw invalidRequest(`'${param}': the server sets it; use the field of the request.`, param, "invalid_value")
    // A model that has no switch and does not think has been told so already.
    const needless = name === "enable_thinking" && value === false && !thinks(template)
    if (!template.mentions(name) && !needless)
      throw invalidRequest(`'${param}': the model's chat template does not know it.`, param, "unsupported_parameter")
  }
  const effort = conversation.reasoning_effort ?? undefined
  if (effort === undefined) return variables
  if (template.mentions("reasoning_effort")) return { reasoning_effort: effort, ...variables }
  if (template.mentions("enable_thinking")) return { enable_thinking: effort !== "none", ...variables }
  if (effort === "none" && !thinks(template)) return variables
  throw invalidRequest(
    "'reasoning_effort': the model's chat template has no switch for it; leave the field out.",
    "reasoning_effort",
    "unsupported_parameter",
  )
}

const thinks = (template: ChatTemplate): boolean => reasoningMarks(template.source()) !== undefined

/** How an answer begins that may begin with reasoning. */
export interface Reasoning {
  readonly marks: ReasoningMarks
  /** The prompt ends within the reasoning. */
  readonly inside: boolean
}

/** Where to look for reasoning in the answer to this prompt; `undefined`: there is none. */
export function reasoningOf({ chatTemplate }: LoadedModel, prompt: string, body: Conversation): Reasoning | undefined {
  const marks = chatTemplate && reasoningMarks(chatTemplate.source())
  if (marks === undefined) return undefined
  const begun = body.continue_final_message ? contentText(body.messages.at(-1)?.content) : ""
  if (begun.trim() === "") return { marks, inside: prompt.trimEnd().endsWith(marks.open) }
  return endsInReasoning(begun, marks) ? { marks, inside: true } : undefined
}
