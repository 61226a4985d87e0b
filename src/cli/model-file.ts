import { type Gguf, openGguf } from "../gguf/reader.ts"
import { resolveModel } from "../store/resolve.ts"
import { type Tokenizer, tokenizerFromMetadata } from "../text/index.ts"
import { InterruptedError } from "./exit.ts"
import { onInterrupt } from "./interrupt.ts"
import { showProgress } from "./progress.ts"

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
