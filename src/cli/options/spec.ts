import type { z } from "zod"

/** One setting of the command line, given by a flag or an environment variable. */
export interface OptionSpec {
  /** Kebab-case, without dashes. */
  name: string
  /** Name of the value in the help: `--ctx-size <tokens>`. Flags without a value leave it out. */
  value?: string
  short?: string
  env?: string
  description: string
  /** Parses the text of a flag or variable; a flag without a value gives `true`. The error messages state what is allowed. */
  schema: z.ZodType
  /** The flag may be repeated; its values become an array. */
  repeatable?: boolean
  /** Messages never contain the value. */
  secret?: boolean
  /** The default, shown in the help. `undefined`: the description states what happens without the flag. */
  default?: string | number | boolean
}

/** Returns the declaration with its literal types, which `OptionValue` needs. */
export const option = <const Spec extends OptionSpec>(spec: Spec): Spec => spec
