/** What form a response's text must have, as the Responses API says it: flatter than chat completions do, which it is turned into. */

import { z } from "zod"
import { boundedSchema } from "../../http/limits.ts"
import { checkStructured, type StructuredFields, structuredFields } from "../openai/structured-schema.ts"

const textFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z
      .string()
      .regex(/^[\w-]{1,64}$/, "a name has 1 to 64 letters, digits, _ and -")
      .describe("Taken and not used."),
    description: z.string().nullish().describe("Taken and not used."),
    schema: boundedSchema.describe("A JSON Schema, draft 2020-12. A keyword that cannot be kept is refused by name."),
    strict: z.boolean().nullish().describe("Schemas are always kept to, as if this were true."),
  }),
])

export const responseFormat = textFormat
  .nullish()
  .describe("What the text must be: JSON, or JSON that validates. Default: any text.")

/** Extensions, as chat completions have them. */
export const responseFormatFields = { regex: structuredFields.regex, grammar: structuredFields.grammar }

/** As a response says what it was asked. */
export const formatBody = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    name: z.string(),
    description: z.string().optional(),
    schema: z.record(z.string(), z.unknown()),
    strict: z.boolean().nullable(),
  }),
])

/** @param format The request's. */
export function formatBodyOf(format: z.output<typeof textFormat> | null | undefined): z.output<typeof formatBody> {
  if (format?.type !== "json_schema") return format ?? { type: "text" }
  const { description, strict = null, ...rest } = format
  return { ...rest, strict, ...(typeof description === "string" && { description }) }
}

interface Formatted extends Pick<StructuredFields, "regex" | "grammar"> {
  text?: { format?: z.output<typeof textFormat> | null } | null
  ignore_eos?: boolean | null
  tools?: unknown
  tool_choice?: unknown
}

/** What chat completions call it. */
export function chatFormat({ text, regex, grammar }: Formatted): StructuredFields {
  const format = text?.format
  if (format?.type !== "json_schema") return { response_format: format, regex, grammar }
  const { type, ...json_schema } = format
  return { response_format: { type, json_schema }, regex, grammar }
}

/** The names of fields that chat completions have elsewhere. */
export const FORMAT_FIELD_NAMES: Readonly<Record<string, string>> = { response_format: "text.format" }

const asChat = z.custom<Parameters<typeof checkStructured>[0]>(() => true).superRefine(checkStructured)

/** What holds for forms in chat completions holds here. */
export function checkResponseFormat(body: Formatted, { addIssue }: z.core.$RefinementCtx<Formatted>): void {
  const { ignore_eos, tools, tool_choice } = body
  const { error } = asChat.safeParse({ ...chatFormat(body), ignore_eos, tools, tool_choice })
  for (const issue of error?.issues ?? []) {
    const path = issue.path[0] === "response_format" ? ["text", "format", ...issue.path.slice(1)] : issue.path
    const params = issue.code === "custom" ? issue.params : undefined
    addIssue({
      code: "custom",
      path: [...path],
      message: issue.message.replace("response_format", "text.format"),
      input: body,
      params,
    })
  }
}
