/** The Responses API's names of fields, and its errors. */

import type { ApiFields } from "../../chat/request.ts"
import { type ErrorShape, errorBody } from "../../http/errors.ts"
import { OPENAI_FIELDS } from "../openai/wire.ts"

/** The names of chat completions, with these exceptions. */
export const FIELDS: ApiFields = {
  ...OPENAI_FIELDS,
  messages: "input",
  maxTokens: "max_output_tokens",
  logprobs: "top_logprobs",
  responseFormat: "text.format",
  structuredOutputs: null,
  thinking: "reasoning.effort",
  reasoningEffort: "reasoning.effort",
  "tools[].parameters": "tools[].parameters",
  addGenerationPrompt: null,
  continueFinalMessage: null,
  templateVariables: null,
  n: null,
}

export const responsesError: ErrorShape = (error) => errorBody(error, FIELDS)
