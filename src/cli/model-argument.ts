import type { Command } from "commander"
import { DEFAULT_MODEL } from "../store/catalog.ts"
import { UsageError } from "./exit.ts"
import { readOptions } from "./options/commander.ts"

/**
 * MODEL as the first argument, `--model` or `--gguf`. Positional arguments that are not the model come back as `rest`: with
 * `--model`, commander has put the first of them where MODEL stands.
 */
export function takeModel(command: Command, positional: readonly string[]): { model: string; rest: string[] } {
  const { model, gguf } = readOptions(command, ["model", "gguf"])
  const fromFlag = command.getOptionValueSource("model") === "cli"
  if (fromFlag && gguf !== undefined) throw new UsageError("--model and --gguf mean the same; give one of them")
  const named = fromFlag ? model : gguf
  if (named !== undefined) return { model: named, rest: [...positional] }
  const [first, ...rest] = positional
  if (first !== undefined) return { model: first, rest }
  if (model !== undefined) return { model, rest: [] } // from ROCMFORGE_MODEL
  throw new UsageError(
    `name a model: a GGUF file, or for example ${DEFAULT_MODEL} (rocmforge ${command.name()} ${DEFAULT_MODEL})`,
  )
}

/** @throws UsageError for arguments that the command has no use for. */
export function refuseRest(rest: readonly string[]): void {
  if (rest.length > 0)
    throw new UsageError(`unexpected argument "${rest[0]}" (is the model named twice, or a quote missing?)`)
}
