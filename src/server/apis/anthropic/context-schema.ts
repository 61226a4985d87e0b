/** `context_management`: parts of a conversation that are cleared before the model sees it. */

import { z } from "zod"
import { noteIgnored, openObject } from "../../http/lenient.ts"
import { LIMITS, list } from "../../http/limits.ts"
import { integer } from "../openai/generation-schema.ts"

const EDIT = "context_management.edits[]"
const amount = <T extends string>(unit: T, least: number) =>
  openObject(`${EDIT}.${unit}`, { type: z.literal(unit), value: integer(least, 2 ** 31 - 1) })

const clearThinking = openObject(EDIT, {
  type: z.literal("clear_thinking_20251015"),
  keep: z
    .union([z.literal("all"), openObject(`${EDIT}.keep`, { type: z.literal("all") }), amount("thinking_turns", 1)], {
      error: 'expected "all", or {"type": "thinking_turns", "value": …}',
    })
    .nullish()
    .describe("The newest turns whose thinking is kept. Default: one."),
})

const clearToolUses = openObject(EDIT, {
  type: z.literal("clear_tool_uses_20250919"),
  trigger: z
    .discriminatedUnion("type", [amount("input_tokens", 1), amount("tool_uses", 1)])
    .nullish()
    .describe("What the conversation has to exceed. Default: 100000 tokens."),
  keep: amount("tool_uses", 0).nullish().describe("The newest uses, which are kept. Default: three."),
  clear_at_least: amount("input_tokens", 0).nullish().describe("Clear nothing if it frees fewer tokens."),
  exclude_tools: list(z.string(), LIMITS.tools).nullish().describe("Tools whose uses are kept."),
  clear_tool_inputs: z
    .union([z.boolean(), list(z.string(), LIMITS.tools)])
    .nullish()
    .describe("Clear the inputs too: of all tools, or of these. Default false."),
})

const otherEdit = z
  .looseObject({ type: z.string().refine((type) => !/^clear_(thinking|tool_uses)_\d{8}$/.test(type)) })
  .transform(({ type }) => {
    noteIgnored(`${EDIT}.type=${type}`, false)
    return { type: "other" as const }
  })
  .describe("Ignored.")

const edit = z.union([
  z.discriminatedUnion("type", [clearThinking, clearToolUses], { error: "expected an edit with a type" }),
  otherEdit,
])
export type ContextEdit = z.output<typeof edit>
export type ToolUsesEdit = z.output<typeof clearToolUses>
export type ThinkingEdit = z.output<typeof clearThinking>

export const contextManagement = openObject("context_management", { edits: list(edit, LIMITS.stops).nullish() })
  .nullish()
  .describe("Clears the thinking and the tool uses of older turns. Other edits are ignored.")

const cleared = z.int().describe("Tokens that the prompt is shorter.")
export const appliedEdit = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("clear_thinking_20251015"),
    cleared_input_tokens: cleared,
    cleared_thinking_turns: z.int(),
  }),
  z.object({ type: z.literal("clear_tool_uses_20250919"), cleared_input_tokens: cleared, cleared_tool_uses: z.int() }),
])
export type AppliedEdit = z.output<typeof appliedEdit>
