/** Entry of the thread that encodes long texts. */

import { parentPort } from "node:worker_threads"
import { openGguf } from "../../gguf/reader.ts"
import { TokenizerError } from "../../text/index.ts"
import { tokenizerFromMetadata } from "../../text/tokenizer/tokenizer.ts"
import type { Tokenizer } from "../../text/tokenizer/types.ts"
import type { FromEncoder, ToEncoder } from "./encoder.ts"

let tokenizer: Promise<Tokenizer> | undefined

async function open(path: string): Promise<Tokenizer> {
  const { metadata } = await openGguf(path)
  return tokenizerFromMetadata((key) => metadata.get(key)?.value)
}

async function encode({ id, path, text, options }: ToEncoder): Promise<FromEncoder> {
  try {
    tokenizer ??= open(path)
    return { id, tokens: (await tokenizer).encode(text, options) }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return { id, message, code: error instanceof TokenizerError ? error.code : undefined }
  }
}

parentPort?.on("message", async (message: ToEncoder) => {
  const answer = await encode(message)
  parentPort?.postMessage(answer, "tokens" in answer ? [answer.tokens.buffer as ArrayBuffer] : [])
})
