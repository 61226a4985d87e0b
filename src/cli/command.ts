import type { Command } from "commander"
import { addOptions } from "./options/commander.ts"
import type { OptionName } from "./options/options.ts"

/** One command of the CLI, as data. */
export interface CommandSpec {
  name: string
  /** What follows the name in the usage line. */
  usage: string
  summary: string
  /** Longer help, below the summary. */
  description?: string
  examples: readonly string[]
  options: readonly OptionName[]
  /** Left out of the help: the program's own use. */
  hidden?: boolean
  /** Returns the exit code; throws for any failure. */
  run(command: Command, positional: readonly string[]): Promise<number>
}

export function addCommand(program: Command, spec: CommandSpec, onDone: (code: number) => void): void {
  const command = program.command(spec.name, { hidden: spec.hidden ?? false })
  command
    .usage(`${spec.usage} [options]`)
    .summary(spec.summary)
    .description([spec.summary, spec.description].filter(Boolean).join("\n\n"))
    .argument("[args...]")
    .addHelpText("after", `\nExamples:\n${spec.examples.map((example) => `  ${example}`).join("\n")}`)
    .action(async () => onDone(await spec.run(command, command.args)))
  addOptions(command, spec.options)
}
