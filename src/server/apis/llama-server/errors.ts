/** Errors of llama-server's own routes: `{error: {code, message, type}}`, where `code` is the HTTP status. */

import { z } from "zod"
import type { ApiFields } from "../../chat/request.ts"
import type { ApiErrors, ErrorShape } from "../../http/errors.ts"
import { OPENAI_FIELDS } from "../openai/wire.ts"

/** The names that llama-server gives the fields. */
const FIELDS: ApiFields = {
  ...OPENAI_FIELDS,
  repetitionPenalty: "repeat_penalty",
  n: "n_cmpl",
  maxTokens: "n_predict",
  minTokens: null,
  stopTokenIds: null,
  includeStop: null,
  skipSpecialTokens: null,
  badWords: null,
  allowedTokenIds: null,
  logprobs: "n_probs",
  responseFormat: "json_schema",
  suffix: "input_suffix",
  input: "content",
}

export const llamaErrorSchema = z.object({
  error: z.object({
    code: z.int().describe("The HTTP status."),
    message: z.string(),
    type: z.string(),
    n_prompt_tokens: z.int().optional().describe("Of a prompt that is too long: its tokens."),
    n_ctx: z.int().optional().describe("Of a prompt that is too long: the tokens that the context holds."),
  }),
})

const TYPES: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  501: "not_supported_error",
  503: "unavailable_error",
}

export const llamaError: ErrorShape = (error) => {
  const { status, overflow } = error
  if (overflow === undefined) {
    const type = TYPES[status] ?? (status < 500 ? "invalid_request_error" : "server_error")
    return { error: { code: status, message: error.shown(FIELDS).message, type } }
  }
  const { nTokens, contextLength } = overflow
  return {
    error: {
      code: status,
      message:
        `The request (${nTokens} tokens) exceeds the available context size (${contextLength} tokens). ` +
        "Shorten it, or start the server with a larger --ctx-size.",
      type: "exceed_context_size_error",
      n_prompt_tokens: nTokens,
      n_ctx: contextLength,
    },
  }
}

/** Paths of llama-server's own, also where no route is reached. */
export const LLAMA_ERRORS: readonly ApiErrors[] = [
  "/chat",
  "/completion",
  "/completions",
  "/infill",
  "/embedding",
  "/embeddings",
  "/rerank",
  "/reranking",
  "/props",
  "/slots",
  "/lora-adapters",
  "/models",
].map((prefix) => ({ prefix, shape: llamaError }))
