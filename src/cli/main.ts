import { Command, CommanderError } from "commander"
import packageJson from "../../package.json" with { type: "json" }
import { bench } from "./bench.ts"
import { addCommand, type CommandSpec } from "./command.ts"
import { detokenize } from "./detokenize.ts"
import { devices } from "./devices.ts"
import { EXIT, EXIT_HELP, failureOf } from "./exit.ts"
import { table } from "./format.ts"
import { generate } from "./generate.ts"
import { inspect } from "./inspect.ts"
import { VARIABLES } from "./options/options.ts"
import { BrokenPipeError, note } from "./output.ts"
import { probe } from "./probe-device.ts"
import { serve } from "./serve.ts"
import { tokenize } from "./tokenize.ts"

const COMMANDS: readonly CommandSpec[] = [generate, serve, inspect, bench, tokenize, detokenize, devices, probe]

const EXAMPLES = `Examples:
  rocmforge generate smollm2-135m --chat --prompt "Why is the sky blue?"
  rocmforge serve smollm2-135m --port 8080
  rocmforge inspect model.gguf --plan`

/**
 * Runs the command line. Every failure ends here, as one message on standard error and an exit code.
 * @param argv as in `process.argv`.
 */
export async function main(argv: readonly string[]): Promise<number> {
  let code: number = EXIT.ok
  const program = buildProgram((result) => {
    code = result
  })
  try {
    await program.parseAsync(argv)
    return code
  } catch (error) {
    if (error instanceof BrokenPipeError) return EXIT.ok
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage // it has printed its message
    const failure = failureOf(error)
    note(`rocmforge: ${failure.message}`)
    return failure.code
  }
}

/** The whole command line. @param onDone hears the exit code of the command that ran. */
function buildProgram(onDone: (code: number) => void): Command {
  const program = new Command("rocmforge")
  program
    .description(
      "Runs large language models from GGUF files: generates text, serves an OpenAI-compatible API, looks inside.",
    )
    .version(packageJson.version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .configureHelp({
      subcommandTerm: (command) => `${command.name()} ${command.usage().replace("[options]", "")}`.trim(),
    })
    .exitOverride()
    .showHelpAfterError("(rocmforge --help lists the commands; rocmforge COMMAND --help their options)")
  for (const spec of COMMANDS) addCommand(program, spec, onDone)
  const variables = table(VARIABLES.map(({ env, description }) => [env, description]))
  program.addHelpText("after", `\n${EXAMPLES}\n\nEnvironment:\n${variables}\n\n${EXIT_HELP}`)
  return program
}
