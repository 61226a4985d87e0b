import { type Gguf, openGguf } from "../gguf/reader.ts"
import { resolveModel } from "../store/resolve.ts"
import { type Tokenizer, tokenizerFromMetadata } from "../text/index.ts"
import { InterruptedError } from "./exit.ts"
import { onInterrupt } from "./interrupt.ts"
import { showProgress } from "./progress.ts"

/**
 * The file behind a model's name, downloaded with a progress display when it is not here yet.
 * @throws InterruptedError on Ctrl-C.
 */
export async function findModel(name: string): Promise<string> {
  const controller = new AbortController()
  using _ = onInterrupt(() => controller.abort())
  try {
    return await resolveModel(name, { onProgress: showProgress(), signal: controller.signal })
  } catch (error) {
    if (!controller.signal.aborted) throw error
    throw new InterruptedError("interrupted; what was downloaded is kept, and the next run goes on from there")
  }
}

/** A model's metadata and tensor directory; no weights. */
export const openModelFile = async (name: string): Promise<Gguf> => openGguf(await findModel(name))

/** A file's tokenizer, from its metadata alone. */
export const tokenizerOf = (gguf: Gguf): Tokenizer => tokenizerFromMetadata((key) => gguf.metadata.get(key)?.value)
