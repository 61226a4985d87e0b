/** llama-server's forms of a prompt → tokens. */

import type { LoadedModel } from "../../../engine/types.ts"
import { encodeToRead } from "../../chat/encode.ts"
import { ApiError, invalidRequest } from "../../http/errors.ts"
import { LIMITS } from "../../http/limits.ts"
import type { InfillBody } from "./schema.ts"

/** A prompt: texts and token ids, one after the other. */
type Prompt = readonly (string | number)[]

/**
 * The prompts of a field: a text, a list of token ids and texts, an object with `prompt_string`, or a list of prompts.
 * @throws ApiError 400
 */
export function promptsOf(value: unknown, field: string): Prompt[] {
  if (!Array.isArray(value)) return [promptOf(value, field)]
  if (value.some(Number.isInteger) && !value.some((part) => typeof part === "object")) return [promptOf(value, field)]
  if (value.length === 0 || value.length > LIMITS.inputs)
    throw invalidRequest(`'${field}': expected 1 to ${LIMITS.inputs} prompts.`, field, "invalid_value")
  return value.map((item, i) => promptOf(item, `${field}[${i}]`))
}

function promptOf(value: unknown, field: string): Prompt {
  if (typeof value === "string") return [value]
  if (Array.isArray(value)) {
    for (const part of value)
      if (typeof part !== "string" && !(Number.isInteger(part) && part >= 0 && part < 2 ** 31)) throw wrong(field)
    return value
  }
  if (typeof value !== "object" || value === null) throw wrong(field)
  const { prompt_string: text, multimodal_data: media } = value as Record<string, unknown>
  if (typeof text !== "string") throw wrong(`${field}.prompt_string`)
  if (media !== undefined && media !== null && !(Array.isArray(media) && media.length === 0))
    throw new ApiError(
      501,
      "invalid_request_error",
      `'${field}.multimodal_data': the models served here read text alone; leave the field out.`,
      `${field}.multimodal_data`,
      "unsupported_parameter",
    )
  return [text]
}

const wrong = (field: string): ApiError =>
  invalidRequest(
    `'${field}': expected a text, a list of token ids and texts, or an object with prompt_string.`,
    field,
    "invalid_type",
  )

/** The tokens of a prompt. A text at its start is given the model's beginning token. */
export async function promptTokens(model: LoadedModel, prompt: Prompt, field: "prompt" | "input"): Promise<Int32Array> {
  const parts: ArrayLike<number>[] = []
  for (const [i, part] of prompt.entries()) {
    const addBos = i === 0 && model.tokenizer.addBos
    parts.push(typeof part === "number" ? [part] : await encodeToRead(model, part, { special: true, addBos }, field))
  }
  return joined(parts)
}

const joined = (parts: readonly ArrayLike<number>[]): Int32Array => {
  const tokens = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    tokens.set(part, at)
    at += part.length
  }
  return tokens
}

/**
 * The prompt that asks for a text in a gap: other files, then prefix and suffix with the model's marks, and the beginning of the text.
 * @throws ApiError 501 for a model without such marks
 */
export async function infillTokens(model: LoadedModel, body: InfillBody): Promise<Int32Array> {
  const { tokenizer, name } = model
  const { prefix, suffix, middle } = tokenizer.fim
  if (prefix === undefined || suffix === undefined || middle === undefined)
    throw new ApiError(
      501,
      "invalid_request_error",
      `The model '${name}' has no tokens for text in the middle (fill-in-the-middle), so it fills no gaps.`,
      "model",
      "unsupported_model",
    )
  const text = (part: string) => encodeToRead(model, part, { special: false }, "prompt")
  const bos = tokenizer.addBos && tokenizer.bosId !== undefined ? [tokenizer.bosId] : []
  const extra = (body.input_extra ?? []).map((file) => `${file.filename ?? "tmp"}\n${file.text}\n`).join("")
  return joined([
    bos,
    extra === "" ? [] : await text(extra),
    [prefix],
    await text(body.input_prefix),
    [suffix],
    await text(body.input_suffix),
    [middle],
    body.prompt ? await text(body.prompt) : [],
  ])
}
