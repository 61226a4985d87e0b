/** Thinking before the answer: whether a model does it, the switch in its chat template, and where the thoughts are in its output. */

import type { LoadedModel } from "../../engine/types.ts"
import { type ChatTemplate, endsInReasoning, type ReasoningMarks, reasoningMarks } from "../../text/index.ts"
import { noteIgnored } from "../observe/record.ts"
import type { Conversation } from "./request.ts"

/** An answer that may begin with reasoning. */
export interface Reasoning {
  readonly marks: ReasoningMarks
  /** The prompt ends within the reasoning. */
  readonly inside: boolean
}

/** Whether a model with this chat template thinks before it answers. */
const thinks = (template: ChatTemplate): boolean => reasoningMarks(template.source()) !== undefined

/** Where to look for reasoning in the answer to a prompt; `undefined`: the answer has none. */
export function reasoningOf(
  { chatTemplate }: Pick<LoadedModel, "chatTemplate">,
  prompt: string,
  { messages, continueFinalMessage }: Conversation,
): Reasoning | undefined {
  const marks = chatTemplate && reasoningMarks(chatTemplate.source())
  if (marks === undefined) return undefined
  const begun = continueFinalMessage ? (messages.at(-1)?.content ?? "") : ""
  if (begun.trim() === "") return { marks, inside: prompt.trimEnd().endsWith(marks.open) }
  return endsInReasoning(begun, marks) ? { marks, inside: true } : undefined
}

/**
 * The variables that set a template's switch for thinking. Where it has none, the request for it is noted, unless thinking is turned off
 * and the model does not think anyway.
 */
export function reasoningVariables(
  template: ChatTemplate,
  { thinking, reasoningEffort }: Conversation,
): Record<string, unknown> {
  const effort = thinking === false ? "none" : reasoningEffort
  if (effort === undefined && thinking === undefined) return {}
  if (template.mentions("reasoning_effort")) return effort === undefined ? {} : { reasoning_effort: effort }
  if (template.mentions("enable_thinking")) return { enable_thinking: effort !== "none" }
  if (effort !== "none" || thinks(template)) noteIgnored(thinking === undefined ? "reasoningEffort" : "thinking")
  return {}
}
