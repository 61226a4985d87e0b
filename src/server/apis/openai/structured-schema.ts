/** Fields that give the form of the text. */

import { z } from "zod"
import type { Form } from "../../../grammar/constraint.ts"
import type { RequestedForm } from "../../chat/request.ts"
import { boundedPattern, boundedSchema, LIMITS, list } from "../../http/limits.ts"

const jsonSchema = z
  .union([z.boolean(), boundedSchema], { error: "expected a JSON schema: an object" })
  .describe("A JSON Schema, draft 2020-12. A schema with a part that cannot be kept is refused; the error names it.")

const responseFormat = z
  .discriminatedUnion("type", [
    z.strictObject({ type: z.literal("text") }),
    z.strictObject({ type: z.literal("json_object") }),
    z.strictObject({
      type: z.literal("json_schema"),
      json_schema: z.strictObject({
        name: z
          .string()
          .regex(/^[\w-]{1,64}$/, "a name has 1 to 64 letters, digits, _ and -")
          .describe("Accepted and ignored."),
        description: z.string().nullish().describe("Accepted and ignored."),
        schema: jsonSchema,
        strict: z.boolean().nullish().describe("Schemas are always enforced, as if this were true."),
      }),
    }),
  ])
  .nullish()
  .describe("The form of the text: JSON, or JSON that validates against a schema. Default: any text.")

const structuredOutputs = z
  .strictObject({
    json: jsonSchema.nullish(),
    regex: boundedPattern.nullish(),
    choice: list(z.string().min(1), LIMITS.choices, 1).nullish().describe("The text is one of these texts."),
    grammar: boundedPattern.nullish(),
  })
  .refine((value) => given(value).length === 1, { error: "needs one of json, regex, choice and grammar" })
  .nullish()
  .describe("The same under vLLM's name: one of `json` (a JSON Schema), `regex`, `choice` and `grammar`.")

export const structuredFields = {
  response_format: responseFormat,
  regex: boundedPattern
    .nullish()
    .describe("The whole text matches this ECMAScript regular expression (no look-behind, no back-references)."),
  grammar: boundedPattern
    .nullish()
    .describe(
      'The rule `root` of this grammar derives the whole text. The syntax is the EBNF of llama.cpp (GBNF) and xgrammar: `root ::= "a" [0-9]{2,4} | item*`.',
    ),
  structured_outputs: structuredOutputs,
}

export type StructuredFields = z.output<z.ZodObject<typeof structuredFields>>

const given = (fields: object): string[] =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name]) => name)

/** A field that asks for a form of text: its name, its path in the body, and whether the answer may also call tools. */
export interface FormAsked {
  readonly name: string
  readonly path: readonly string[]
  readonly withTools: boolean
}

interface CheckedBody {
  ignore_eos?: boolean | null
  tools?: unknown
  tool_choice?: unknown
}

/** Refuses a second form, and a form that contradicts other fields. @param asked The fields that ask for a form. */
export function checkForms(asked: readonly FormAsked[], body: CheckedBody, context: z.RefinementCtx): void {
  const [first, second] = asked
  const refuse = (path: readonly string[], message: string) =>
    context.addIssue({
      code: "custom",
      path: [...path],
      message,
      input: body,
      params: { code: "unsupported_parameter" },
    })
  if (first === undefined) return
  const { ignore_eos, tools, tool_choice } = body
  if (second !== undefined)
    refuse(second.path, `${first.name} already gives the form of the text; leave one of the two out`)
  else if (ignore_eos)
    refuse(["ignore_eos"], `a text constrained by ${first.name} must be able to end; leave ignore_eos out`)
  else if (!first.withTools && Array.isArray(tools) && tools.length > 0 && tool_choice !== "none")
    refuse(first.path, 'is not supported together with tools; leave tools out, or set tool_choice to "none"')
}

export const checkStructured = (body: StructuredFields & CheckedBody, context: z.RefinementCtx): void => {
  const { response_format, regex, grammar, structured_outputs } = body
  const format = response_format?.type === "text" ? undefined : response_format
  const names = given({ response_format: format, regex, grammar, structured_outputs })
  checkForms(
    names.map((name) => ({ name, path: [name], withTools: name === "response_format" })),
    body,
    context,
  )
}

/** The form that the text must have. */
export function requestedForm(fields: StructuredFields): RequestedForm | undefined {
  const { response_format: format, regex, grammar, structured_outputs: outputs } = fields
  if (format?.type === "json_schema")
    return { field: "responseFormat", form: { type: "json_schema", schema: format.json_schema.schema } }
  if (format?.type === "json_object") return { field: "responseFormat", form: { type: "json_object" } }
  if (typeof regex === "string") return { field: "regex", form: { type: "regex", pattern: regex } }
  if (typeof grammar === "string") return { field: "grammar", form: { type: "grammar", grammar } }
  return outputs ? { field: "structuredOutputs", form: outputsForm(outputs) } : undefined
}

function outputsForm({ json, regex, choice, grammar }: NonNullable<StructuredFields["structured_outputs"]>): Form {
  if (json !== undefined && json !== null) return { type: "json_schema", schema: json }
  if (choice) return { type: "regex", pattern: choice.map(escaped).join("|") }
  return typeof regex === "string" ? { type: "regex", pattern: regex } : { type: "grammar", grammar: grammar ?? "" }
}

/** A pattern that matches this text alone. */
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
