/** Main program of the thread that computes token masks. */

import { parentPort } from "node:worker_threads"
import { openGguf } from "../gguf/reader.ts"
import { tokenizerFromMetadata } from "../text/tokenizer/tokenizer.ts"
import { type FromThread, MatcherPool, type ToThread } from "./matcher-pool.ts"
import { buildTrie } from "./token-trie.ts"

const post = (message: FromThread): void =>
  parentPort?.postMessage(message, message.type === "mask" ? [message.mask.buffer as ArrayBuffer] : [])

let pool: Promise<MatcherPool> | undefined

parentPort?.on("message", async (message: ToThread) => {
  if (message.type === "vocabulary") {
    pool = open(message)
    return
  }
  try {
    // Messages keep their order, because each waits only for the vocabulary.
    ;(await pool)?.receive(message)
  } catch (error) {
    post({ type: "failed", id: message.id, reason: `the vocabulary cannot be read: ${error}` })
  }
})

async function open({ path, nVocab }: { path: string; nVocab: number }): Promise<MatcherPool> {
  const { metadata } = await openGguf(path)
  const tokenizer = tokenizerFromMetadata((key) => metadata.get(key)?.value)
  return new MatcherPool(buildTrie(tokenizer, nVocab), post)
}
