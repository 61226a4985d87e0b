import { fieldMessage, RequestError } from "../../errors.ts"
import { checkForm } from "../../grammar/compile.ts"
import { type Constraint, constraintOf, type ToolsConstraint } from "../../grammar/constraint.ts"
import { GrammarError } from "../../grammar/expr.ts"
import type { Reasoning } from "./reasoning.ts"
import type { GenerationRequest } from "./request.ts"

/**
 * The constraint for the form that a request asks for; `undefined`: any text.
 * @throws RequestError that names the field and the unsupported part of its value.
 */
export function formConstraint({
  form: requested,
}: GenerationRequest): Exclude<Constraint, ToolsConstraint> | undefined {
  if (requested === undefined) return undefined
  const { form, field } = requested
  const constraint = constraintOf(form, field)
  try {
    checkForm(constraint)
  } catch (error) {
    if (!(error instanceof GrammarError)) throw error
    throw new RequestError(fieldMessage`'{${field}}': ${error.message}.`, field, "invalid_constraint")
  }
  return constraint
}

/** The constraint for the text after a thinking model's reasoning, which is free. */
export const afterReasoning = (
  constraint: Constraint | undefined,
  reasoning: Reasoning | undefined,
): Constraint | undefined =>
  constraint && { ...constraint, reasoning: reasoning && { ...reasoning.marks, inside: reasoning.inside } }
