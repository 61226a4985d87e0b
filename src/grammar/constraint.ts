/** Constraints: the form that a generated text must have. */

import { z } from "zod"
import { RequestError } from "../errors.ts"
import { stringifyJson } from "../json.ts"
import { withoutAnnotations } from "./schema-source.ts"

/** A parsed JSON Schema (draft 2020-12). */
export type JsonSchema = boolean | Record<string, unknown>

/** A JSON Schema as JSON: messages between threads and processes keep neither numbers exactly nor the order of keys. */
const schemaText = z.string()

const common = {
  /** The request field that errors name. */
  param: z.string(),
  /**
   * Marks of a reasoning model. The reasoning is free; the constraint applies after `close`. `inside`: the prompt ends within the reasoning.
   * Otherwise the text may begin with `open`, or have no reasoning.
   */
  reasoning: z.strictObject({ open: z.string(), close: z.string(), inside: z.boolean() }).optional(),
}

/** Free text and function calls. Calls have a form that begins with `trigger`; see `tools.ts`. */
const tools = z.strictObject({
  ...common,
  type: z.literal("tools"),
  /** Text that begins a block of calls. */
  trigger: z.string().min(1),
  /** The trigger counts only at the start of the answer, after white space. */
  atStart: z.boolean().optional(),
  /** Text between the trigger and a block's first call. */
  open: z.string(),
  /**
   * For each function: a call is `begin`, JSON of the parameters, `end`. `lenient`: parts of the schema that cannot be kept allow any value
   * of their type.
   */
  calls: z
    .array(
      z.strictObject({ begin: z.string(), parameters: schemaText, lenient: z.boolean().optional(), end: z.string() }),
    )
    .min(1),
  /** Text between two calls of a block. Absent: a block has one call. */
  separator: z.string().optional(),
  close: z.string(),
  /** Text between two blocks. Absent: there is one block. */
  between: z.string().optional(),
  /** A block may be empty, where no call is required. */
  empty: z.boolean().optional(),
  /** The answer is at least one call and nothing else. */
  required: z.boolean(),
  /** More than one call is allowed. */
  parallel: z.boolean(),
  /** An answer without a call is JSON that validates against this schema. Absent: any text. */
  answer: schemaText.optional(),
})

/** Validates constraints in messages between processes. */
export const constraintSchema = z.discriminatedUnion("type", [
  z.strictObject({ ...common, type: z.literal("json_object") }),
  z.strictObject({ ...common, type: z.literal("json_schema"), schema: schemaText }),
  z.strictObject({ ...common, type: z.literal("regex"), pattern: z.string() }),
  z.strictObject({ ...common, type: z.literal("grammar"), grammar: z.string() }),
  tools,
])

/**
 * The form of a text: any JSON object; JSON that validates against a schema; a full match of an ECMAScript regular expression (without
 * look-behind and back-references); a text that a grammar derives from its rule `root` (see `ebnf.ts`); or text with function calls.
 */
export type Constraint = z.infer<typeof constraintSchema>
export type ToolsConstraint = z.infer<typeof tools>

/** A constraint other than on function calls, as requests name it: with its schema as a value. */
export type Form =
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly schema: JsonSchema }
  | { readonly type: "regex"; readonly pattern: string }
  | { readonly type: "grammar"; readonly grammar: string }

/** The constraint for a form. @param param The request field that errors name. */
export function constraintOf(form: Form, param: string): Exclude<Constraint, ToolsConstraint> {
  return form.type === "json_schema" ? { ...form, schema: textOfSchema(form.schema), param } : { ...form, param }
}

/** A schema as JSON, without annotations. */
export const textOfSchema = (schema: unknown): string => stringifyJson(withoutAnnotations(schema))

/** Most characters of a constraint, as JSON. */
const MAX_CONSTRAINT_CHARS = 2 ** 21

/** Constraints with equal keys differ in `param` alone. */
export const constraintKey = ({ param: _, ...content }: Constraint): string => JSON.stringify(content)

/** @throws RequestError for a constraint longer than {@link MAX_CONSTRAINT_CHARS}. */
export function checkConstraint(constraint: Constraint): void {
  const size = constraintKey(constraint).length
  if (size <= MAX_CONSTRAINT_CHARS) return
  const message = `the constraint has ${size} characters, but at most ${MAX_CONSTRAINT_CHARS} are allowed; simplify it`
  throw new RequestError(message, constraint.param, "constraint_too_large")
}
