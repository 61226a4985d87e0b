/** Fields that give the form of the text: OpenAI's, vLLM's newer and older ones, llama-server's, and Ollama's. */

import { z } from "zod"
import type { Form } from "../../../grammar/constraint.ts"
import { parseJson } from "../../../json.ts"
import type { RequestedForm } from "../../chat/request.ts"
import { noEffect, openObject } from "../../http/lenient.ts"
import { boundedPattern, boundedSchema, LIMITS, list } from "../../http/limits.ts"
import { notYet } from "./generation-schema.ts"

const jsonSchema = z
  .union([z.boolean(), boundedSchema], { error: "expected a JSON schema: an object" })
  .describe("A JSON Schema, draft 2020-12. A schema with a part that cannot be kept is refused; the error names it.")
type Schema = z.output<typeof jsonSchema>

/** A schema, which some clients send as text. */
const schemaOrText = z.preprocess((value) => (typeof value === "string" ? parsedText(value) : value), jsonSchema)

/** The JSON of a text; the text itself if it is none. */
function parsedText(text: string): unknown {
  try {
    return parseJson(text)
  } catch {
    return text
  }
}

const responseFormat = z
  .discriminatedUnion("type", [
    openObject("response_format", { type: z.literal("text") }),
    openObject("response_format", { type: z.literal("json_object"), schema: jsonSchema.nullish() }),
    openObject("response_format", {
      type: z.literal("json_schema"),
      json_schema: openObject("response_format.json_schema", {
        name: noEffect("names the schema"),
        description: noEffect("describes the schema"),
        schema: jsonSchema.nullish(),
        strict: noEffect("asks for a schema that is always kept, as every schema is"),
      }).nullish(),
      schema: jsonSchema.nullish().describe("Where some clients put the schema."),
    }),
  ])
  .nullish()
  .describe("The form of the text: JSON, or JSON that validates against a schema. Default: any text.")

const choices = list(z.string().min(1), LIMITS.choices, 1).nullish().describe("The text is one of these texts.")

const structuredOutputs = openObject("structured_outputs", {
  json: schemaOrText.nullish(),
  json_object: z.boolean().nullish(),
  regex: boundedPattern.nullish(),
  choice: choices,
  grammar: boundedPattern.nullish(),
  structural_tag: notYet("a structural tag is", undefined, "use grammar, or tools"),
  whitespace_pattern: noEffect("tunes the white space of JSON"),
  disable_any_whitespace: noEffect("tunes the white space of JSON"),
  disable_fallback: noEffect("picks among vLLM's libraries"),
  disable_additional_properties: noEffect("is a rule of one of vLLM's libraries; a schema can say it itself"),
})
  .refine((value) => outputsForm(value).length === 1, {
    error: "needs one of json, json_object, regex, choice and grammar",
  })
  .nullish()
  .describe("The same under vLLM's name: one of `json`, `json_object`, `regex`, `choice` and `grammar`.")

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
  json_schema: schemaOrText.nullish().describe("llama-server's field for a JSON Schema."),
  guided_json: schemaOrText.nullish().describe("The older name of structured_outputs.json."),
  guided_regex: boundedPattern.nullish().describe("The older name of structured_outputs.regex."),
  guided_choice: choices,
  guided_grammar: boundedPattern.nullish().describe("The older name of structured_outputs.grammar."),
  format: z
    .union([z.enum(["", "json"]), jsonSchema], { error: 'expected "json", or a JSON schema' })
    .nullish()
    .describe("Ollama's field: `json`, or a JSON Schema."),
  structural_tag: notYet("a structural tag is", undefined, "use grammar, or tools"),
}

export type StructuredFields = Partial<z.output<z.ZodObject<typeof structuredFields>>>

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

export const checkStructured = (body: StructuredFields & CheckedBody, context: z.RefinementCtx): void =>
  checkForms(
    formsOf(body).map(([name, { type }]) => ({ name, path: [name], withTools: type.startsWith("json") })),
    body,
    context,
  )

/** The keys by which errors know a field; the others go by their own names. */
const KEYS: Readonly<Record<string, string>> = {
  response_format: "responseFormat",
  structured_outputs: "structuredOutputs",
}

/** The form that the text must have. */
export function requestedForm(fields: StructuredFields): RequestedForm | undefined {
  const [first] = formsOf(fields)
  return first && { field: KEYS[first[0]] ?? first[0], form: first[1] }
}

/** The forms that a request asks for, by field. */
function formsOf(fields: StructuredFields): (readonly [name: string, form: Form])[] {
  const { response_format: format, structured_outputs: outputs, format: ollama } = fields
  const forms: Record<string, Form | undefined> = {
    response_format:
      format?.type === "json_schema"
        ? jsonForm(format.json_schema?.schema ?? format.schema)
        : format?.type === "json_object"
          ? jsonForm(isEmpty(format.schema) ? undefined : format.schema)
          : undefined,
    regex: regexForm(fields.regex),
    grammar: grammarForm(fields.grammar),
    structured_outputs: outputs ? outputsForm(outputs)[0] : undefined,
    json_schema: given(fields.json_schema, jsonForm),
    guided_json: given(fields.guided_json, jsonForm),
    guided_regex: regexForm(fields.guided_regex),
    guided_choice: given(fields.guided_choice, choiceForm),
    guided_grammar: grammarForm(fields.guided_grammar),
    format: ollama === "json" ? { type: "json_object" } : given(ollama || undefined, (value) => jsonForm(value)),
  }
  return Object.entries(forms).flatMap(([name, form]) => (form === undefined ? [] : [[name, form] as const]))
}

interface OutputsFields {
  json?: Schema | null
  json_object?: boolean | null
  regex?: string | null
  choice?: string[] | null
  grammar?: string | null
}

/** The forms that vLLM's field asks for. */
function outputsForm(fields: OutputsFields): Form[] {
  const forms = [
    given(fields.json, jsonForm),
    fields.json_object ? jsonForm(undefined) : undefined,
    regexForm(fields.regex),
    given(fields.choice, choiceForm),
    grammarForm(fields.grammar),
  ]
  return forms.filter((form) => form !== undefined)
}

const given = <T>(value: T | null | undefined, form: (value: T) => Form): Form | undefined =>
  value === undefined || value === null ? undefined : form(value)

/** Without a schema, any object. */
const jsonForm = (schema: Schema | null | undefined): Form =>
  schema === undefined || schema === null ? { type: "json_object" } : { type: "json_schema", schema }

const isEmpty = (schema: Schema | null | undefined): boolean =>
  typeof schema === "object" && schema !== null && Object.keys(schema).length === 0

const regexForm = (pattern: string | null | undefined) => given(pattern, (pattern) => ({ type: "regex", pattern }))
const grammarForm = (grammar: string | null | undefined) => given(grammar, (grammar) => ({ type: "grammar", grammar }))
const choiceForm = (texts: readonly string[]): Form => ({ type: "regex", pattern: texts.map(escaped).join("|") })

/** A pattern that matches this text alone. */
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
