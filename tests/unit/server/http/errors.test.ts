/** How each API reports a refusal of the core. */

import { expect, test } from "bun:test"
import { EngineError, fieldMessage, RequestError } from "../../../../src/errors.ts"
import { anthropicError } from "../../../../src/server/apis/anthropic/errors.ts"
import { FIELDS, ollamaError, PROMPT_FIELDS } from "../../../../src/server/apis/ollama/errors.ts"
import { openAiError } from "../../../../src/server/apis/openai/wire.ts"
import { responsesError } from "../../../../src/server/apis/responses/errors.ts"
import { ApiError, type ErrorShape, errorShapes, toApiError } from "../../../../src/server/http/errors.ts"

const SHAPES = {
  openai: openAiError,
  responses: responsesError,
  anthropic: anthropicError,
  chat: ollamaError(FIELDS),
  generate: ollamaError(PROMPT_FIELDS),
} satisfies Record<string, ErrorShape>

/** The message of every API, and the field where the API has one in its errors. */
function shown(error: unknown) {
  return Object.fromEntries(
    Object.entries(SHAPES).map(([api, shape]) => {
      const { error: body } = shape(toApiError(error)) as { error: string | { message: string; param?: string } }
      return [
        api,
        typeof body === "string" ? body : body.param === undefined ? body.message : [body.message, body.param],
      ]
    }),
  )
}

test("a field has the API's own name", () => {
  const field = (key: string) => new RequestError(fieldMessage`'{${key}}': no.`, key, "invalid_value")
  expect(shown(field("messages"))).toEqual({
    openai: ["'messages': no.", "messages"],
    responses: ["'input': no.", "input"],
    anthropic: "'messages': no.",
    chat: "'messages': no.",
    generate: "'prompt': no.",
  })
  expect(shown(field("reasoningEffort"))).toEqual({
    openai: ["'reasoning_effort': no.", "reasoning_effort"],
    responses: ["'reasoning.effort': no.", "reasoning.effort"],
    anthropic: "'output_config.effort': no.",
    chat: "'think': no.",
    generate: "'think': no.",
  })
  const parameters = fieldMessage`{tools[${3}].parameters}`
  expect(shown(new RequestError(fieldMessage`'{tools[${3}].parameters}': no.`, parameters, "invalid_schema"))).toEqual({
    openai: ["'tools[3].function.parameters': no.", "tools[3].function.parameters"],
    responses: ["'tools[3].parameters': no.", "tools[3].parameters"],
    anthropic: "'tools[3].input_schema': no.",
    chat: "'tools[3].function.parameters': no.",
    generate: "'tools[3].function.parameters': no.",
  })
})

test("an API's own name is kept, even if it equals one of our keys", () => {
  const error = new ApiError(400, "invalid_request_error", "Unknown field 'stop'.", "stop", "unknown_parameter")
  expect(Object.values(shown(error)).flat()).toEqual([
    "Unknown field 'stop'.",
    "stop",
    "Unknown field 'stop'.",
    "stop",
    ...Array(3).fill("Unknown field 'stop'."),
  ])
})

test("quoted parts of a request are truncated", () => {
  const { error } = openAiError(toApiError(new RequestError("x".repeat(5000), "y".repeat(500), "z"))) as {
    error: { message: string; param: string }
  }
  expect([error.message.length, error.param.length]).toEqual([2000, 200])
})

test("an unexpected error is a plain 500", () => {
  expect(toApiError(new TypeError("secret"))).toMatchObject({ status: 500, code: "internal_error" })
  expect(toApiError(new TypeError("secret")).message).not.toContain("secret")
  expect(toApiError(new EngineError("it died"))).toMatchObject({ status: 503, code: "engine_error" })
})

test("the path selects the error shape of its API", () => {
  const shapeOf = errorShapes([{ prefix: "/api", shape: SHAPES.chat }], SHAPES.openai)
  for (const path of ["/api", "/api/chat", "/api/none"]) expect(shapeOf(path)).toBe(SHAPES.chat)
  for (const path of ["/", "/apiary", "/v1/chat/completions"]) expect(shapeOf(path)).toBe(SHAPES.openai)
})
