/** Texts of requests → tokens, without holding up other requests. */

import { pause } from "../../async.ts"
import type { LoadedModel } from "../../engine/types.ts"
import { type EncodeOptions, promptOptions } from "../../text/index.ts"
import { invalidRequest } from "../http/errors.ts"
import { EncoderThread } from "./encoder.ts"

/** Texts up to this many UTF-16 units are encoded where they stand: it takes a few milliseconds, and 40 at worst. */
const SHORT = 1 << 16

const threads = new WeakMap<LoadedModel, EncoderThread>()

/** The tokens of a text. @throws TokenizerError */
export async function encodeText(model: LoadedModel, text: string, options: EncodeOptions = {}): Promise<Int32Array> {
  if (text.length > SHORT) return await threadOf(model).encode(text, options)
  await pause()
  return model.tokenizer.encode(text, options)
}

/**
 * The same for a text that the model is to read, which is refused before time is spent on it when the context cannot hold it.
 * @throws ApiError 400 naming its field
 */
export async function encodeToRead(
  model: LoadedModel,
  text: string,
  options: EncodeOptions,
  param: string,
): Promise<Int32Array> {
  const { contextLength } = model.engine.limits
  const fewest = Math.ceil(text.length / model.tokenizer.longestToken)
  if (fewest > contextLength)
    throw invalidRequest(
      `The prompt has ${text.length} characters, which are ${fewest} tokens at least, and the model's context holds ${contextLength} with the completion; shorten '${param}'.`,
      param,
      "context_length_exceeded",
    )
  return await encodeText(model, text, options)
}

/** The tokens of a prompt that a chat template wrote, as many as they are. @throws TokenizerError */
export const encodeChat = (model: LoadedModel, prompt: string): Promise<Int32Array> =>
  encodeText(model, prompt, promptOptions(model.tokenizer, prompt))

function threadOf(model: LoadedModel): EncoderThread {
  const known = threads.get(model)
  if (known !== undefined) return known
  const thread = new EncoderThread(model.path)
  threads.set(model, thread)
  return thread
}
