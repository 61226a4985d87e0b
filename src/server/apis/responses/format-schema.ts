/** The form of a response's text, in the Responses API's fields, which are flatter than those of chat completions. */

import { z } from "zod"
import { noEffect, openObject } from "../../http/lenient.ts"
import { boundedSchema, jsonObject } from "../../http/limits.ts"
import { checkForms, type FormAsked, type StructuredFields, structuredFields } from "../openai/structured-schema.ts"
import { flatTools } from "./tools.ts"
import type { ResponseTool } from "./tools-schema.ts"

const textFormat = z.discriminatedUnion("type", [
  openObject("text.format", { type: z.literal("text") }),
  openObject("text.format", { type: z.literal("json_object") }),
  openObject("text.format", {
    type: z.literal("json_schema"),
    name: z
      .string()
      .regex(/^[\w-]{1,64}$/, "a name has 1 to 64 letters, digits, _ and -")
      .describe("Accepted and ignored."),
    description: noEffect("describes the format", z.string()),
    schema: boundedSchema.describe(
      "A JSON Schema, draft 2020-12. A schema with a part that cannot be kept is refused; the error names it.",
    ),
    strict: z.boolean().nullish().describe("Schemas are always enforced, as if this were true."),
  }),
])

export const responseFormat = textFormat
  .nullish()
  .describe("The form of the text: JSON, or JSON that validates against a schema. Default: any text.")

/** Extensions, the same as in chat completions. */
export const responseFormatFields = { regex: structuredFields.regex, grammar: structuredFields.grammar }

/** The form as a response repeats it. */
export const formatBody = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text") }),
  z.object({ type: z.literal("json_object") }),
  z.object({
    type: z.literal("json_schema"),
    name: z.string(),
    description: z.string().optional(),
    schema: jsonObject,
    strict: z.boolean().nullable(),
  }),
])

/** The format as a response repeats it. @param format The request's. */
export function formatBodyOf(format: z.output<typeof textFormat> | null | undefined): z.output<typeof formatBody> {
  if (format?.type !== "json_schema") return format ?? { type: "text" }
  const { description, strict = null, ...rest } = format
  return { ...rest, strict, ...(typeof description === "string" && { description }) }
}

interface FormatFields extends Pick<StructuredFields, "regex" | "grammar"> {
  text?: { format?: z.output<typeof textFormat> | null } | null
  ignore_eos?: boolean | null
  tools?: ResponseTool[] | null
  input?: Parameters<typeof flatTools>[0]["input"]
  tool_choice?: unknown
}

/** The same fields in the form of chat completions. */
export function chatFormat({ text, regex, grammar }: FormatFields): StructuredFields {
  const format = text?.format
  if (format?.type !== "json_schema") return { response_format: format, regex, grammar }
  const { type, ...json_schema } = format
  return { response_format: { type, json_schema }, regex, grammar }
}

export function checkResponseFormat(body: FormatFields, context: z.core.$RefinementCtx<FormatFields>): void {
  const { text, regex, grammar } = body
  const asked: FormAsked[] = []
  if (text?.format && text.format.type !== "text")
    asked.push({ name: "text.format", path: ["text", "format"], withTools: true })
  if (typeof regex === "string") asked.push({ name: "regex", path: ["regex"], withTools: false })
  if (typeof grammar === "string") asked.push({ name: "grammar", path: ["grammar"], withTools: false })
  checkForms(asked, { ...body, tools: flatTools(body) }, context)
}
