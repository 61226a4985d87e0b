import type { Command } from "commander"
import { type Gguf, openGguf } from "../gguf/reader.ts"
import { DEFAULT_MODEL } from "../store/catalog.ts"
import { resolveModel } from "../store/resolve.ts"
import { type Tokenizer, tokenizerFromMetadata } from "../text/index.ts"
import { InterruptedError, UsageError } from "./exit.ts"
import { onInterrupt } from "./interrupt.ts"
import { readOptions } from "./options/commander.ts"
import { showProgress } from "./progress.ts"

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

/**
 * The path of a model's file. A model that is not on this machine is downloaded, and the progress is shown.
 * @throws InterruptedError on Ctrl-C.
 */
export async function findModel(name: string): Promise<string> {
  const controller = new AbortController()
  using _ = onInterrupt(() => controller.abort())
  try {
    return await resolveModel(name, { onProgress: showProgress(), signal: controller.signal })
  } catch (error) {
    if (!controller.signal.aborted) throw error
    throw new InterruptedError("interrupted; what was downloaded is kept, and the next run resumes from there")
  }
}

/** Reads a model's metadata and tensor directory, without its weights. */
export const openModelFile = async (name: string): Promise<Gguf> => openGguf(await findModel(name))

/** Builds a file's tokenizer from its metadata. */
export const tokenizerOf = (gguf: Gguf): Tokenizer => tokenizerFromMetadata((key) => gguf.metadata.get(key)?.value)
