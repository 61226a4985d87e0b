/** Tools in the Responses API's form, which is flatter than that of chat completions. */

import { z } from "zod"
import { boundedSchema, jsonObject, LIMITS, list } from "../../http/limits.ts"
import { functionName, toolProblems } from "../openai/tools-schema.ts"

const typeOf = (input: unknown): string =>
  typeof input === "object" && input !== null && "type" in input ? `${JSON.stringify(input.type)} tools` : "such tools"

const tool = z.discriminatedUnion(
  "type",
  [
    z.strictObject({
      type: z.literal("function"),
      name: functionName,
      description: z.string().nullish().describe("What the function does, and when to call it. The model reads this."),
      parameters: boundedSchema
        .nullish()
        .describe("JSON Schema of its arguments, which are an object. Default: no arguments."),
      strict: z
        .boolean()
        .nullish()
        .describe("Arguments always validate against the schema; a schema with an unsupported part is refused."),
    }),
  ],
  { error: (issue) => `${typeOf(issue.input)} are not supported; use function` },
)

const named = z.strictObject({ type: z.literal("function"), name: z.string().min(1) })
const allowed = z.strictObject({
  type: z.literal("allowed_tools"),
  mode: z.enum(["auto", "required"]),
  tools: list(named, LIMITS.tools, 1),
})
const CHOICES = ["none", "auto", "required"] as const
const choice = z.union([z.enum(CHOICES), z.discriminatedUnion("type", [named, allowed])], {
  error: `expected ${CHOICES.join(", ")}, or an object of type function or allowed_tools`,
})

export const responseToolFields = {
  tools: list(tool, LIMITS.tools)
    .nullish()
    .describe("Functions that the response may call. The client runs them, and sends function_call_output items."),
  tool_choice: choice
    .nullish()
    .describe(
      "auto (default): the model decides; none: no calls; required: at least one call; a function: a call of that one; allowed_tools: only calls of these.",
    ),
  parallel_tool_calls: z.boolean().nullish().describe("false: at most one call. Default true."),
}

/** A tool as a response repeats it. */
export const toolBody = z.object({
  type: z.literal("function"),
  name: z.string(),
  description: z.string().nullable(),
  parameters: jsonObject.nullable(),
  strict: z.boolean().nullable(),
})
export const toolChoiceBody = choice

export interface ResponseTools {
  tools?: z.output<typeof tool>[] | null
  tool_choice?: z.output<typeof choice> | null
  parallel_tool_calls?: boolean | null
}

/** Every tool has a name of its own, and a choice is one among tools. */
export function checkResponseTools(body: ResponseTools, { addIssue }: z.core.$RefinementCtx<ResponseTools>): void {
  const { tools, tool_choice } = body
  const refuse = (path: PropertyKey[], message: string) => addIssue({ code: "custom", path, message, input: body })
  const names = tools?.map(({ name }) => name) ?? []
  const choice = typeof tool_choice === "object" ? (tool_choice ?? undefined) : { mode: tool_choice }
  const allowed = choice && "tools" in choice ? choice.tools : []
  const stray = allowed.findIndex(({ name }) => !names.includes(name))
  if (stray >= 0) refuse(["tool_choice", "tools", stray, "name"], "none of the tools has this name")
  const required = choice !== undefined && "mode" in choice && choice.mode === "required"
  const chosen = choice && "name" in choice ? choice.name : undefined
  for (const { at, index, message } of toolProblems(names, required, chosen)) {
    const place = at === "tool" ? ["tools", index] : ["tool_choice"]
    refuse(at === "choice" ? place : [...place, "name"], message)
  }
}
