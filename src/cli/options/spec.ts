import type { z } from "zod"

/** A setting that a flag or an environment variable gives. */
export interface OptionSpec {
  /** Kebab-case, without dashes. */
  name: string
  /** What the value is, for help: `--ctx-size <tokens>`. Flags without a value have none. */
  value?: string
  short?: string
  env?: string
  description: string
  /** Reads the text of a flag or variable; a flag without a value gives `true`. The error messages say what is allowed. */
  schema: z.ZodType
  /** Given by repeating the flag; the values become an array. */
  repeatable?: boolean
  /** No message repeats what was given. */
  secret?: boolean
  /** Shown in help as the default. `undefined`: the description says what happens without it. */
  default?: string | number | boolean
}

/** Keeps what the compiler knows of it. */
export const option = <const Spec extends OptionSpec>(spec: Spec): Spec => spec
