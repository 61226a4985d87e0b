/** Requests that `/v1/responses` refuses, and their errors. */

import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import OpenAI from "openai"
import { OverloadedError } from "../../src/errors.ts"
import { clientOf } from "../support/http.ts"
import { ask, call } from "./support/responses.ts"
import { type ScriptedServer, saying, serveScript } from "./support/script-model.ts"

describe("errors have OpenAI's shape", () => {
  let server: ScriptedServer
  beforeAll(async () => {
    server = await serveScript({ tokens: saying("hello") }, { maxBodyBytes: 2 ** 16 })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  const image = { role: "user", content: [{ type: "input_image", image_url: "data:" }] }
  const unsupported = "unsupported_parameter"
  test.each([
    [{ input: undefined }, "input", "missing_required_parameter"],
    [{ input: "" }, "input", "invalid_value"],
    [{ input: [] }, "input", "invalid_value"],
    [{ input: 1 }, "input", "invalid_value"],
    [{ input: [{ role: "oracle", content: "x" }] }, "input[0].role", "invalid_value"],
    [{ input: [{ role: "user" }] }, "input[0].content", "missing_required_parameter"],
    [{ input: [image] }, "input[0].content[0].type", "invalid_value"],
    [
      { input: [{ type: "function_call", call_id: "c", name: "f" }] },
      "input[0].arguments",
      "missing_required_parameter",
    ],
    [{ input: "x".repeat(2000) }, "input", "context_length_exceeded"],
    [{ instructions: 1 }, "instructions", "invalid_type"],
    [{ max_output_tokens: 0 }, "max_output_tokens", "invalid_value"],
    [{ temperature: -1 }, "temperature", "invalid_value"],
    [{ metadata: { a: 1 } }, "metadata.a", "invalid_type"],
    [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [i, ""])) }, "metadata", "invalid_value"],
    [{ background: true, store: false }, "store", "invalid_value"],
    [{ input: [{ type: "sonnet", text: "x" }] }, "input[0].type", "invalid_value"],
    [
      { input: [{ type: "function_call_output", call_id: "c", output: [{ type: "input_file" }] }] },
      "input[0].output[0].type",
      "invalid_value",
    ],
    [{ tools: [{ type: "web_search" }], tool_choice: "required" }, "tool_choice", "invalid_value"],
    [{ tools: [{ type: "web_search" }], tool_choice: { type: "web_search" } }, "tool_choice.type", "invalid_value"],
    [
      {
        tools: [
          { type: "custom", name: "f" },
          {
            type: "namespace",
            name: "n",
            tools: [
              { type: "function", name: "f" },
              { type: "function", name: "f" },
            ],
          },
        ],
      },
      "tools[1].name",
      "invalid_value",
    ],
    [{ reasoning: { effort: "enormous" } }, "reasoning.effort", "invalid_value"],
    [{ tools: [{ type: "function", name: "a b" }] }, "tools[0].name", "invalid_value"],
    [{ tools: Array(2).fill({ type: "function", name: "f" }) }, "tools[1].name", "invalid_value"],
    [
      { tools: [{ type: "function", name: "f", parameters: { type: "array" } }] },
      "tools[0].parameters",
      "invalid_value",
    ],
    [{ tool_choice: "required" }, "tool_choice", "invalid_value"],
    [{ tool_choice: { type: "function", name: "f" } }, "tool_choice.name", "invalid_value"],
    [
      { tool_choice: { type: "allowed_tools", mode: "auto", tools: [{ type: "function", name: "f" }] } },
      "tool_choice.tools[0].name",
      "invalid_value",
    ],
    [{ conversation: "conv" }, "conversation", unsupported],
    [{ prompt: { id: "pmpt" } }, "prompt", unsupported],
    [{ truncation: "middle" }, "truncation", "invalid_value"],
  ])("400 for %j names %s", async (fields, param, code) => {
    const response = await call(server.url, "", "POST", { ...ask, ...fields })
    expect(response.status).toBe(400)
    const { error } = await response.json()
    expect(error).toMatchObject({ type: "invalid_request_error", param, code })
    expect(error.message).toContain(`'${param}'`)
    expect(server.engine.requests).toEqual([])
  })

  test.each([
    ["GET", "/resp_none", 404, "response_not_found"],
    ["DELETE", "/resp_none", 404, "response_not_found"],
    ["POST", "/resp_none/cancel", 404, "response_not_found"],
    ["GET", "/resp_none/input_items", 404, "response_not_found"],
    ["GET", "/resp_none?stream=true", 404, "response_not_found"],
    ["GET", "/resp_none?stream=yes", 400, "invalid_value"],
    ["GET", "/resp_none?starting_after=3", 400, "invalid_value"],
    ["GET", "/resp_none?stream=true&starting_after=-1", 400, "invalid_value"],
    ["GET", "/resp_none/input_items?limit=0", 400, "invalid_value"],
    ["GET", "/resp_none/input_items?order=up", 400, "invalid_value"],
    ["PUT", "/resp_none", 405, "method_not_allowed"],
    ["GET", "", 405, "method_not_allowed"],
  ])("%s %s is %d, %s", async (method, path, status, code) => {
    const response = await call(server.url, path, method)
    expect([response.status, (await response.json()).error.code]).toEqual([status, code])
  })

  test("are the client's NotFoundError for an unknown model", async () => {
    const error = await clientOf(server.url)
      .responses.create({ ...ask, model: "gpt-5" })
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.NotFoundError)
    expect(error.param).toBe("model")
  })

  test("have an HTTP status if the stream has not begun", async () => {
    const refusal = new OverloadedError("too many requests wait", "queue_full", 3)
    await using full = await serveScript({ tokens: saying("x"), refusal })
    const error = await clientOf(full.url)
      .responses.create({ ...ask, stream: true })
      .catch((thrown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
  })
})
