/** Requests → prompts, as text and as tokens. */

import type { LoadedModel } from "../../engine/types.ts"
import { fieldMessage, RequestError } from "../../errors.ts"
import {
  type ChatMessage,
  type ChatTemplate,
  ChatTemplateError,
  contentText,
  type ChatRequest as TemplateRequest,
} from "../../text/index.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import { describedInFirst, describedInSystem, withCalls } from "../../text/tools/conversation.ts"
import { toolSupport } from "../../text/tools/family.ts"
import { type ToolFunction, toolJson } from "../../text/tools/format.ts"
import { noteIgnored } from "../observe/record.ts"
import { encodeText, encodeToRead, lastTokens } from "./encode.ts"
import { reasoningVariables } from "./reasoning.ts"
import type { CompletionPrompts, Conversation, Message } from "./request.ts"
import { withTemplate } from "./templates.ts"
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
  { prompt: list, suffix, addSpecialTokens = true, ...limits }: CompletionPrompts,
): Promise<Prompt[]> {
  const { tokenizer, name } = model
  const gap = suffix ? gapTokens(tokenizer, name) : undefined
  const after = gap === undefined ? [] : await encodeToRead(model, suffix ?? "", { special: true }, "suffix")
  const withBos = tokenizer.addBos && addSpecialTokens
  // A text that is cut may be longer than the context.
  const encode = limits.keptPromptTokens === undefined ? encodeToRead : encodeText
  const promptOf = async (item: string | readonly number[]): Promise<Prompt> => {
    const isText = typeof item === "string"
    const options = { special: true, addBos: withBos && gap === undefined }
    const before = isText ? await encode(model, item, options, "prompt") : Int32Array.from(item)
    const text = isText ? () => item : () => tokenizer.decode(item, { special: true })
    const bos = isText && withBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : []
    const parts = gap && [bos, [gap.prefix], before, [gap.suffix], after, [gap.middle]]
    const whole = parts === undefined ? before : Int32Array.from(parts.flatMap((part) => [...part]))
    const tokens = lastTokens(model, whole, limits)
    return tokens === whole ? { tokens, text } : { tokens, text: () => tokenizer.decode(tokens, { special: true }) }
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
  const { chatTemplate } = withTemplate(model, conversation)
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
      ...documentVariable(chatTemplate, conversation),
      ...variables,
      ...(asText && { xml_tools: described }),
    },
  }
  const renderOnce = (messages: readonly ChatMessage[]) =>
    conversation.continueFinalMessage
      ? chatTemplate.renderContinuation({ ...request, messages })
      : chatTemplate.render({ ...request, messages })
  const render = (messages: readonly ChatMessage[]) => {
    try {
      return renderOnce(messages)
    } catch (error) {
      const joined = inStrictOrder(messages)
      if (joined === messages || !(error instanceof ChatTemplateError && error.code === "raised")) throw error
      return renderOnce(joined)
    }
  }
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
    const broken = error.code === "missing" || error.code === "syntax"
    const field = conversation.chatTemplate !== undefined ? "chatTemplate" : broken ? "model" : "messages"
    throw new RequestError(fieldMessage`'{${field}}': ${error.message}.`, field, `chat_template_${error.code}`)
  }
}

/**
 * Messages for templates that refuse others: all system messages as one at the beginning, and messages of the user that follow each other
 * as one. The same list if they are so already.
 */
function inStrictOrder(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const texts = (list: readonly ChatMessage[]) => list.map(({ content }) => contentText(content)).join("\n\n")
  const system = messages.filter(({ role }) => role === "system")
  const list: ChatMessage[] = system[0] === undefined ? [] : [{ ...system[0], content: texts(system) }]
  for (const message of messages) {
    const last = list.at(-1)
    if (message.role === "system") continue
    if (message.role === "user" && last?.role === "user")
      list.splice(-1, 1, { ...last, content: texts([last, message]) })
    else list.push(message)
  }
  return list.length === messages.length && list[0]?.role === messages[0]?.role ? messages : list
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

/** The request's own variables. Those that the template does not use are noted. @throws RequestError for one that the server sets. */
function checkedVariables(template: ChatTemplate, { templateVariables = {} }: Conversation): Record<string, unknown> {
  for (const name of Object.keys(templateVariables)) {
    if (OWN_VARIABLES.includes(name)) {
      const field = fieldMessage`{templateVariables}.${name}`
      const message = fieldMessage`'{templateVariables}.${name}': the server sets it; use the field of the request.`
      throw new RequestError(message, field, "invalid_value")
    }
    if (!template.mentions(name)) noteIgnored(`templateVariables.${name}`, false)
  }
  return { ...templateVariables }
}

function documentVariable(template: ChatTemplate, { documents }: Conversation): Record<string, unknown> {
  if (documents === undefined) return {}
  if (template.mentions("documents")) return { documents }
  noteIgnored("documents")
  return {}
}
