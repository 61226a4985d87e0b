import type { Command } from "commander"
import { addOptions } from "./options/commander.ts"
import type { OptionName } from "./options/options.ts"

/** One command of the CLI, as data. */
export interface CommandSpec {
  name: string
  /** The arguments after the name in the usage line. */
  usage: string
  summary: string
  /** More help, shown after the summary. */
  description?: string
  examples: readonly string[]
  options: readonly OptionName[]
  /** Not listed in the help: a command that the program starts itself. */
  hidden?: boolean
  /** Runs the command and returns the exit code; throws for any failure. */
  run(command: Command, positional: readonly string[]): Promise<number>
}

/** Adds a command to the program. @param onDone receives the exit code when the command has run. */
export function addCommand(program: Command, spec: CommandSpec, onDone: (code: number) => void): void {
  const command = program.command(spec.name, { hidden: spec.hidden ?? false })
  command
    .usage(`${spec.usage} [options]`.trim())
    .summary(spec.summary)
    .description([spec.summary, spec.description].filter(Boolean).join("\n\n"))
    .argument("[args...]")
    .addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join("\n")}`)
    .action(async () => onDone(await spec.run(command, command.args)))
  addOptions(command, spec.options)
}
