/** Fields that say what form the text must have. */

import { z } from "zod"
import { boundedPattern, boundedSchema, LIMITS, list } from "../../http/limits.ts"

const jsonSchema = z
  .union([z.boolean(), boundedSchema], { error: "expected a JSON schema: an object" })
  .describe("A JSON Schema, draft 2020-12. A keyword that cannot be kept is refused by name.")

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
          .describe("Taken and not used."),
        description: z.string().nullish().describe("Taken and not used."),
        schema: jsonSchema,
        strict: z.boolean().nullish().describe("Schemas are always kept to, as if this were true."),
      }),
    }),
  ])
  .nullish()
  .describe("What the text must be: JSON, or JSON that validates. Default: any text.")

const structuredOutputs = z
  .strictObject({
    json: jsonSchema.nullish(),
    regex: boundedPattern.nullish(),
    choice: list(z.string().min(1), LIMITS.choices, 1).nullish().describe("The text is one of these."),
    grammar: boundedPattern.nullish(),
  })
  .refine((value) => given(value).length === 1, { error: "needs one of json, regex, choice and grammar" })
  .nullish()
  .describe("vLLM's name for the same: one of `json` (a JSON Schema), `regex`, `choice` and `grammar`.")

export const structuredFields = {
  response_format: responseFormat,
  regex: boundedPattern
    .nullish()
    .describe("The whole text matches this ECMAScript regular expression (no look-around, no back-references)."),
  grammar: boundedPattern
    .nullish()
    .describe(
      'The whole text is derived from the rule `root` of this grammar, in the EBNF of llama.cpp (GBNF) and xgrammar: `root ::= "a" [0-9]{2,4} | item*`.',
    ),
  structured_outputs: structuredOutputs,
}

export type StructuredFields = z.output<z.ZodObject<typeof structuredFields>>

const given = (fields: object): string[] =>
  Object.entries(fields)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name]) => name)

/** The fields that constrain the text. */
export function constraining({ response_format, regex, grammar, structured_outputs }: StructuredFields): string[] {
  const format = response_format?.type === "text" ? undefined : response_format
  return given({ response_format: format, regex, grammar, structured_outputs })
}

interface Body extends StructuredFields {
  ignore_eos?: boolean | null
  tools?: unknown
  tool_choice?: unknown
}

/** One form at a time; it has an end, and only JSON has calls of tools beside it. */
export function checkStructured(body: Body, context: z.RefinementCtx): void {
  const [first, second] = constraining(body)
  const refuse = (field: string, message: string) =>
    context.addIssue({ code: "custom", path: [field], message, input: body, params: { code: "unsupported_parameter" } })
  if (first === undefined) return
  if (second !== undefined) refuse(second, `the text cannot have a second form beside ${first}; leave one of them out`)
  else if (body.ignore_eos) refuse("ignore_eos", `a text under ${first} has to end somewhere; leave ignore_eos out`)
  else if (
    first !== "response_format" &&
    Array.isArray(body.tools) &&
    body.tools.length > 0 &&
    body.tool_choice !== "none"
  )
    refuse(first, 'is not supported beside tools; leave tools out, or set tool_choice to "none"')
}
