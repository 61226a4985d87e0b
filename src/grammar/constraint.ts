import { z } from "zod"
import { RequestError } from "../errors.ts"

const jsonSchema = z.union([z.boolean(), z.record(z.string(), z.unknown())])
/** A JSON Schema (draft 2020-12) as the object that it is. */
export type JsonSchema = z.infer<typeof jsonSchema>

const common = {
  /** The request's field at fault when it cannot be kept to. */
  param: z.string(),
  /**
   * A thinking model's marks: its thoughts are free, and what comes after `close` keeps to the constraint. `inside`: the prompt ends
   * within the thoughts; otherwise the text may begin with `open`, or do without.
   */
  reasoning: z.strictObject({ open: z.string(), close: z.string(), inside: z.boolean() }).optional(),
}

/** Free text, and calls of functions in a form that begins with `trigger`. See `tools.ts`. */
const tools = z.strictObject({
  ...common,
  type: z.literal("tools"),
  /** Where this stands a block of calls begins. */
  trigger: z.string().min(1),
  /** It counts only where the answer begins with it, white space aside. */
  atStart: z.boolean().optional(),
  /** Between the trigger and a block's first call. */
  open: z.string(),
  /** One for each function: `begin`, JSON of its parameters, `end`. */
  calls: z.array(z.strictObject({ begin: z.string(), parameters: jsonSchema, end: z.string() })).min(1),
  /** Between two calls of a block; absent: each block has one. */
  separator: z.string().optional(),
  close: z.string(),
  /** Between two blocks; absent: there is one. */
  between: z.string().optional(),
  /** A block may have no call, where none is required. */
  empty: z.boolean().optional(),
  /** Calls alone, one at least, from the first character on. */
  required: z.boolean(),
  /** More than one call. */
  parallel: z.boolean(),
  /** Where there is no call, the text is JSON that validates against this; absent: any text. */
  answer: jsonSchema.optional(),
})

/** For messages between processes. */
export const constraintSchema = z.discriminatedUnion("type", [
  z.strictObject({ ...common, type: z.literal("json_object") }),
  z.strictObject({ ...common, type: z.literal("json_schema"), schema: jsonSchema }),
  z.strictObject({ ...common, type: z.literal("regex"), pattern: z.string() }),
  z.strictObject({ ...common, type: z.literal("grammar"), grammar: z.string() }),
  tools,
])

/**
 * What a text must be, whatever the model would rather say: a JSON object, JSON that validates, a text that an ECMAScript regular
 * expression matches from end to end (without look-around and back-references), one that a grammar derives from its rule `root` (see
 * `ebnf.ts`), or text with calls of functions.
 */
export type Constraint = z.infer<typeof constraintSchema>
export type ToolsConstraint = z.infer<typeof tools>

/** A constraint without what errors and thoughts need of it. */
export type Form<C = Exclude<Constraint, ToolsConstraint>> = C extends Constraint
  ? Omit<C, "param" | "reasoning">
  : never

/** Characters of a constraint at most. */
export const MAX_CONSTRAINT_CHARS = 256 * 1024

/** Constraints with the same key are the same but for the field at fault. */
export const constraintKey = ({ param: _, ...content }: Constraint): string => JSON.stringify(content)

/** @throws RequestError when it is longer than {@link MAX_CONSTRAINT_CHARS}. */
export function checkConstraint(constraint: Constraint): void {
  const size = constraintKey(constraint).length
  if (size <= MAX_CONSTRAINT_CHARS) return
  const message = `the constraint has ${size} characters, of which ${MAX_CONSTRAINT_CHARS} are allowed; simplify it`
  throw new RequestError(message, constraint.param, "constraint_too_large")
}
