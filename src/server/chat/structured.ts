import { checkForm } from "../../grammar/compile.ts"
import type { Constraint, Form } from "../../grammar/constraint.ts"
import { GrammarError } from "../../grammar/expr.ts"
import { constraining, type StructuredFields } from "../apis/openai/structured-schema.ts"
import { invalidRequest } from "../http/errors.ts"
import type { Reasoning } from "./prompt.ts"

/**
 * What the text must be; `undefined` where it may be any. A thinking model's thoughts may be any before it.
 * @throws ApiError 400 naming the field and what of it is not supported.
 */
export function constraintOf(fields: StructuredFields, reasoning?: Reasoning): Constraint | undefined {
  const [param] = constraining(fields)
  if (param === undefined) return undefined
  const constraint = {
    ...formOf(fields),
    param,
    reasoning: reasoning && { ...reasoning.marks, inside: reasoning.inside },
  }
  try {
    checkForm(constraint)
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error
    throw invalidRequest(`'${param}': ${error.message}.`, param, "invalid_constraint")
  }
  return constraint
}

function formOf({ response_format: format, regex, grammar, structured_outputs: outputs }: StructuredFields): Form {
  if (format?.type === "json_schema") return { type: "json_schema", schema: format.json_schema.schema }
  if (format?.type === "json_object") return { type: "json_object" }
  if (typeof outputs?.json === "object" || typeof outputs?.json === "boolean")
    return { type: "json_schema", schema: outputs.json ?? true }
  if (outputs?.choice) return { type: "regex", pattern: outputs.choice.map(escaped).join("|") }
  const pattern = regex ?? outputs?.regex ?? undefined
  if (pattern !== undefined) return { type: "regex", pattern }
  return { type: "grammar", grammar: grammar ?? outputs?.grammar ?? "" }
}

/** A pattern of this text alone. */
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")
