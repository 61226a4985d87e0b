/** A tokenizer in a thread of its own. */

import { Worker } from "node:worker_threads"
import { EngineError } from "../../errors.ts"
import { ENCODER, threadProgram } from "../../program.ts"
import { type EncodeOptions, TokenizerError } from "../../text/index.ts"

export interface ToEncoder {
  readonly id: number
  /** The model file, whose tokenizer the thread reads. */
  readonly path: string
  readonly text: string
  readonly options: EncodeOptions
}

export type FromEncoder =
  | { readonly id: number; readonly tokens: Int32Array }
  /** The text cannot be encoded, or (without a code) the thread failed. */
  | { readonly id: number; readonly message: string; readonly code: TokenizerError["code"] | undefined }

/** Milliseconds without work after which the thread ends, to free its memory. */
const IDLE_MS = 60_000

/** A model's tokenizer in a thread, which starts with the first text. Texts are encoded in the order of the calls. */
export class Encoder {
  readonly #waiting = new Map<number, PromiseWithResolvers<Int32Array>>()
  #worker: Worker | undefined
  #idle: ReturnType<typeof setTimeout> | undefined
  #ids = 0

  /** @param path The model file. */
  constructor(readonly path: string) {}

  /** @throws TokenizerError as the tokenizer does; EngineError when the thread cannot run. */
  encode(text: string, options: EncodeOptions): Promise<Int32Array> {
    const id = this.#ids++
    const result = Promise.withResolvers<Int32Array>()
    this.#waiting.set(id, result)
    clearTimeout(this.#idle)
    this.#worker ??= this.#start()
    this.#worker.ref()
    this.#worker.postMessage({ id, path: this.path, text, options } satisfies ToEncoder)
    return result.promise
  }

  #start(): Worker {
    const worker = new Worker(threadProgram("server/chat/encoder-worker.ts"), { workerData: ENCODER })
    worker.on("message", (message: FromEncoder) => this.#receive(message))
    worker.on("error", ({ message }: Error) => {
      for (const { reject } of this.#waiting.values())
        reject(new EngineError(`the tokenizer's thread failed: ${message}`))
      this.#waiting.clear()
      this.#end()
    })
    return worker
  }

  #receive(message: FromEncoder): void {
    const { id } = message
    const result = this.#waiting.get(id)
    this.#waiting.delete(id)
    if ("tokens" in message) result?.resolve(message.tokens)
    else if (message.code === undefined)
      result?.reject(new EngineError(`the tokenizer's thread failed: ${message.message}`))
    else result?.reject(new TokenizerError(message.code, message.message))
    if (this.#waiting.size > 0) return
    this.#worker?.unref()
    this.#idle = setTimeout(() => this.#end(), IDLE_MS)
    this.#idle.unref()
  }

  #end(): void {
    clearTimeout(this.#idle)
    void this.#worker?.terminate()
    this.#worker = undefined
  }
}
