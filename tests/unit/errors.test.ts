/** Messages refer to fields by keys, and every API replaces the keys by its own names. */

import { describe, expect, test } from "bun:test"
import { FieldMessage, fieldMessage, literalMessage, RequestError } from "../../src/errors.ts"

const NAMES = { minTokens: "min_tokens", "tools[].parameters": "tools[].input_schema", logprobs: null }

describe("a message", () => {
  test("uses the given names, and keys without a name unchanged", () => {
    const message = fieldMessage`{minTokens} is ${5}; it must be a whole number up to {maxTokens}, ${3}`
    expect(message.render()).toBe("minTokens is 5; it must be a whole number up to maxTokens, 3")
    expect(message.render(NAMES)).toBe("min_tokens is 5; it must be a whole number up to maxTokens, 3")
    expect(fieldMessage`'{logprobs}'`.render(NAMES)).toBe("'logprobs'")
  })

  test("inserts an index into the name of a part", () => {
    const message = fieldMessage`'{tools[${2}].parameters}': no.`
    expect(message.render()).toBe("'tools[2].parameters': no.")
    expect(message.render(NAMES)).toBe("'tools[2].input_schema': no.")
  })

  test("prints values unchanged, even with braces", () => {
    for (const value of [
      "{minTokens}",
      "a{2}",
      "{{minTokens}}",
      "{",
      "}",
      '{"type": "object"}',
      "{tools[0].parameters}",
    ]) {
      expect(fieldMessage`{minTokens}: ${value}.`.render(NAMES)).toBe(`min_tokens: ${value}.`)
      expect(literalMessage(value).render(NAMES)).toBe(value)
    }
  })
})

test("a refused request has the library's name of its field, and the key from which an API finds its own", () => {
  const error = new RequestError(fieldMessage`{minTokens} is -1`, "minTokens", "invalid_value")
  expect(error).toMatchObject({ message: "minTokens is -1", param: "minTokens", code: "invalid_value" })
  expect(new FieldMessage(error.messageTemplate).render(NAMES)).toBe("min_tokens is -1")
  expect(new FieldMessage(error.paramTemplate).render(NAMES)).toBe("min_tokens")
  expect(new RequestError("it has {minTokens}", "x", "y").message).toBe("it has {minTokens}")
})
