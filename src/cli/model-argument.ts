import type { Command } from "commander"
import { DEFAULT_MODEL } from "../store/catalog.ts"
import { UsageError } from "./exit.ts"
import { readOptions } from "./options/commander.ts"

/**
 * Finds the model among the arguments of a command: `--model`, `--gguf`, the first positional argument, or `ROCMFORGE_MODEL`.
 * @returns the model, and the positional arguments without it as `rest`.
 * @throws UsageError when no model or two models are named.
 */
export function takeModel(command: Command, positional: readonly string[]): { model: string; rest: string[] } {
  const { model, gguf } = readOptions(command, ["model", "gguf"])
  const fromFlag = command.getOptionValueSource("model") === "cli"
  if (fromFlag && gguf !== undefined)
    throw new UsageError("--model and --gguf both name the model; give only one of them")
  const named = fromFlag ? model : gguf
  if (named !== undefined) return { model: named, rest: [...positional] }
  const [first, ...rest] = positional
  if (first !== undefined) return { model: first, rest }
  if (model !== undefined) return { model, rest: [] } // from ROCMFORGE_MODEL
  throw new UsageError(
    `name a model: a GGUF file, or for example ${DEFAULT_MODEL} (rocmforge ${command.name()} ${DEFAULT_MODEL})`,
  )
}

/** @throws UsageError for positional arguments that the command does not take. */
export function refuseRest(rest: readonly string[]): void {
  if (rest.length > 0)
    throw new UsageError(`unexpected argument "${rest[0]}" (is the model named twice, or a quote missing?)`)
}
