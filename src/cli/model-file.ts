import { type Gguf, openGguf } from "../gguf/reader.ts"
import { resolveModel } from "../store/resolve.ts"
import { type Tokenizer, tokenizerFromMetadata } from "../text/index.ts"
import { showProgress } from "./progress.ts"

/** The file behind a model's name, downloaded with a progress display when it is not here yet. */
export const findModel = (name: string): Promise<string> => resolveModel(name, { onProgress: showProgress() })

/** A model's metadata and tensor directory; no weights. */
export const openModelFile = async (name: string): Promise<Gguf> => openGguf(await findModel(name))

/** A file's tokenizer, from its metadata alone. */
export const tokenizerOf = (gguf: Gguf): Tokenizer => tokenizerFromMetadata((key) => gguf.metadata.get(key)?.value)
