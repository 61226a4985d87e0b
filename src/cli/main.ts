import { CommanderError } from "commander"
import { EXIT, failureOf } from "./exit.ts"
import { BrokenPipeError, note } from "./output.ts"
import { buildProgram } from "./program.ts"

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
