/** Texts of requests → tokens. Long texts are encoded in another thread, so that other requests are not held up. */

import { pause } from "../../async.ts"
import type { LoadedModel } from "../../engine/types.ts"
import { ContextOverflowError } from "../../errors.ts"
import { type EncodeOptions, promptOptions } from "../../text/index.ts"
import { Encoder } from "./encoder.ts"
import type { FieldKey, GenerationRequest } from "./request.ts"

/** Most UTF-16 units of a text that is encoded in this thread, which takes a few milliseconds, and 40 at worst. */
const SHORT = 1 << 16

const encoders = new WeakMap<LoadedModel, Encoder>()

/** The tokens of a text. @throws TokenizerError */
export async function encodeText(model: LoadedModel, text: string, options: EncodeOptions = {}): Promise<Int32Array> {
  if (text.length > SHORT) return await encoderOf(model).encode(text, options)
  await pause()
  return model.tokenizer.encode(text, options)
}

/**
 * The tokens of a text that must fit into the model's context. A text that certainly does not is refused before it is encoded.
 * @param field The field of the text.
 * @throws RequestError, TokenizerError
 */
export async function encodeToRead(
  model: LoadedModel,
  text: string,
  options: EncodeOptions,
  field: FieldKey,
): Promise<Int32Array> {
  const { contextLength } = model.engine.limits
  const fewest = Math.ceil(text.length / model.tokenizer.longestToken)
  if (fewest > contextLength) throw new ContextOverflowError(fewest, contextLength, field)
  return await encodeText(model, text, options)
}

/** The tokens of a prompt that a chat template wrote, of any length. @throws TokenizerError */
export const encodeChat = (model: LoadedModel, prompt: string): Promise<Int32Array> =>
  encodeText(model, prompt, promptOptions(model.tokenizer, prompt))

/** The tokens of a prompt that a request keeps. Unless it says otherwise, all. */
export function lastTokens(
  { engine }: LoadedModel,
  tokens: Int32Array,
  { keptPromptTokens: kept, maxTokens = 1 }: Pick<GenerationRequest, "keptPromptTokens" | "maxTokens">,
): Int32Array {
  const { contextLength } = engine.limits
  const count = kept === -1 ? Math.max(1, contextLength - Math.max(1, maxTokens)) : kept
  return count === undefined || count >= tokens.length ? tokens : tokens.subarray(tokens.length - count)
}

function encoderOf(model: LoadedModel): Encoder {
  const known = encoders.get(model)
  if (known !== undefined) return known
  const encoder = new Encoder(model.path)
  encoders.set(model, encoder)
  return encoder
}
