/** Applies the edits of `context_management` to a conversation. */

import type { LoadedModel } from "../../../engine/types.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import type { Conversation, Message, ToolCall } from "../../chat/request.ts"
import type { AppliedEdit, ContextEdit, ThinkingEdit, ToolUsesEdit } from "./context-schema.ts"

/** What the model sees in place of a result. */
const CLEARED = "[The result of this call was cleared to save space.]"
const DEFAULT_TRIGGER = 100_000
const DEFAULT_KEPT_USES = 3

/** The defaults of Anthropic's API hold. An edit that changes nothing is not among the applied ones. */
export async function applyEdits<C extends Conversation>(
  model: LoadedModel,
  conversation: C,
  edits: readonly ContextEdit[],
): Promise<{ conversation: C; applied: AppliedEdit[] }> {
  const count = async (messages: readonly Message[]): Promise<number> =>
    (await encodeChat(model, renderChat(model, { ...conversation, messages }))).length
  let { messages } = conversation
  const applied: AppliedEdit[] = []
  for (const edit of edits) {
    if (edit.type === "clear_thinking_20251015") {
      const { kept, turns } = withoutThinking(messages, edit)
      if (turns === 0) continue
      const cleared_input_tokens = (await count(messages)) - (await count(kept))
      applied.push({ type: edit.type, cleared_input_tokens, cleared_thinking_turns: turns })
      messages = kept
    } else if (edit.type === "clear_tool_uses_20250919") {
      const before = edit.trigger?.type === "tool_uses" ? usesIn(messages).length : await count(messages)
      if (before <= (edit.trigger?.value ?? DEFAULT_TRIGGER)) continue
      const { kept, uses } = withoutToolUses(messages, edit)
      if (uses === 0) continue
      const cleared_input_tokens = (await count(messages)) - (await count(kept))
      if (cleared_input_tokens < (edit.clear_at_least?.value ?? 0)) continue
      applied.push({ type: edit.type, cleared_input_tokens, cleared_tool_uses: uses })
      messages = kept
    }
  }
  return { conversation: { ...conversation, messages }, applied }
}

function withoutThinking(messages: readonly Message[], { keep }: ThinkingEdit) {
  if (keep === "all" || keep?.type === "all") return { kept: messages, turns: 0 }
  const thinking = messages.flatMap(({ reasoning }, i) => (reasoning ? [i] : []))
  const old = new Set(thinking.slice(0, -(keep?.value ?? 1)))
  const kept = messages.map((message, i) => (old.has(i) ? { ...message, reasoning: undefined } : message))
  return { kept, turns: old.size }
}

const usesIn = (messages: readonly Message[]): ToolCall[] => messages.flatMap(({ toolCalls }) => toolCalls ?? [])

/** The messages without the results of older uses. The calls stay, so that the model knows of them. */
function withoutToolUses(messages: readonly Message[], edit: ToolUsesEdit) {
  const uses = usesIn(messages)
  const old = uses.slice(0, Math.max(0, uses.length - (edit.keep?.value ?? DEFAULT_KEPT_USES)))
  const ids = new Set(old.filter(({ name }) => !edit.exclude_tools?.includes(name)).map(({ id }) => id))
  const { clear_tool_inputs: inputs } = edit
  const clearsInput = ({ id, name }: ToolCall): boolean =>
    ids.has(id) && (Array.isArray(inputs) ? inputs.includes(name) : inputs === true)
  let cleared = 0
  const kept = messages.map((message): Message => {
    if (message.toolCallId !== undefined && ids.has(message.toolCallId)) {
      cleared++
      return { ...message, content: CLEARED }
    }
    if (!message.toolCalls?.some(clearsInput)) return message
    const toolCalls = message.toolCalls.map((call) => (clearsInput(call) ? { ...call, arguments: "{}" } : call))
    return { ...message, toolCalls }
  })
  return { kept, uses: cleared }
}
