import { type Command, Option } from "commander"
import { UsageError } from "../exit.ts"
import { OPTIONS, type OptionName, type OptionSpec, type OptionValue } from "./options.ts"

export type OptionValues<Names extends OptionName> = { [Name in Names]: OptionValue<Name> }

/** Adds declared options to a command. */
export function addOptions(command: Command, names: readonly OptionName[]): Command {
  for (const name of names) command.addOption(toCommander(OPTIONS[name]))
  return command
}

/** The checked values of a parsed command. `names` must have been added to it. */
export function readOptions<Names extends OptionName>(command: Command, names: readonly Names[]): OptionValues<Names> {
  const given = command.opts<Record<string, unknown>>()
  const entries = names.map((name) => {
    const spec: OptionSpec = OPTIONS[name]
    const value = given[toCommander(spec).attributeName()]
    return [name, value ?? (spec.repeatable ? [] : spec.default)]
  })
  return Object.fromEntries(entries) as OptionValues<Names> // every value went through its own schema
}

function toCommander(spec: OptionSpec): Option {
  const short = spec.short ? `-${spec.short}, ` : ""
  const value = spec.value ? ` <${spec.value}>` : ""
  const option = new Option(`${short}--${spec.name}${value}`, spec.description)
  if (spec.env) option.env(spec.env)
  if (!spec.value) return option
  if (spec.default !== undefined) option.default(spec.default)
  return option.argParser((text: string, previous: unknown) => {
    const parsed = parseOption(spec, text)
    return spec.repeatable ? [...(Array.isArray(previous) ? previous : []), parsed] : parsed
  })
}

function parseOption(spec: OptionSpec, text: string): unknown {
  const result = spec.schema.safeParse(text)
  if (result.success) return result.data
  const variable = spec.env && process.env[spec.env] === text ? ` (or ${spec.env})` : ""
  throw new UsageError(
    `--${spec.name}${variable} ${result.error.issues[0]?.message}${spec.secret ? "" : `, not "${text}"`}`,
  )
}
