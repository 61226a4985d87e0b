import { deserialize, serialize } from "bun:jsc"
import { expect, test } from "bun:test"
import { DeviceError } from "../../../../src/engine/device.ts"
import { fromWire, toWire, wireErrorSchema } from "../../../../src/engine/process/wire-error.ts"
import {
  ContextOverflowError,
  EngineError,
  FieldMessage,
  fieldMessage,
  OverloadedError,
  RequestError,
} from "../../../../src/errors.ts"
import { GgufError } from "../../../../src/gguf/errors.ts"
import { ModelError } from "../../../../src/models/errors.ts"
import { NativeError } from "../../../../src/native/errors.ts"
import { PlanError } from "../../../../src/plan/operands.ts"
import { ChatTemplateError, TokenizerError } from "../../../../src/text/index.ts"

const native = new NativeError("DEVICE", "the GPU was lost")
const ERRORS: Error[] = [
  new RequestError("too long", "prompt", "context_length_exceeded"),
  new ContextOverflowError(9000, 8192, "prompt"),
  new OverloadedError("too many", "queue_full", 7),
  new EngineError("the step failed", { cause: native }),
  new DeviceError("no GPU", true),
  native,
  new GgufError("truncated", "it ends early", {
    path: "m.gguf",
    field: "tensor x",
    offset: 12,
    cause: new TypeError("short"),
  }),
  new ModelError("bad-config", "m.gguf", "no heads"),
  new PlanError("no such buffer"),
  new TokenizerError("bad_field", "no tokens"),
  new ChatTemplateError("syntax", "it does not parse"),
]

const sent = (error: unknown): Error => fromWire(wireErrorSchema.parse(deserialize(serialize(toWire(error)))))

for (const error of ERRORS) {
  test(`${error.name} is the same after the transfer`, () => {
    const found = sent(error)
    expect(found.constructor).toBe(error.constructor)
    expect(found).toBeInstanceOf(Error)
    const { name, message, stack } = error
    expect({ name: found.name, message: found.message, stack: found.stack }).toEqual({ name, message, stack })
    expect({ ...found } as object).toEqual({ ...error })
    if (error.cause instanceof Error) {
      expect(found.cause).toBeInstanceOf(error.cause instanceof NativeError ? NativeError : Error)
      expect(found.cause).toMatchObject({ name: error.cause.name, message: error.cause.message })
    } else expect(found.cause).toBeUndefined()
  })
}

test("the message of a refused request can still use other names", () => {
  const error = sent(new RequestError(fieldMessage`{minTokens} is ${"{5}"}`, "minTokens", "invalid_value"))
  if (!(error instanceof RequestError)) throw error
  expect([error.message, error.param]).toEqual(["minTokens is {5}", "minTokens"])
  const names = { minTokens: "min_tokens" }
  expect(new FieldMessage(error.messageTemplate).render(names)).toBe("min_tokens is {5}")
  expect(new FieldMessage(error.paramTemplate).render(names)).toBe("min_tokens")
})

test("an error of an unknown class keeps its name and message", () => {
  expect(sent(new RangeError("too far"))).toMatchObject({ name: "RangeError", message: "too far" })
  expect(sent("only text")).toMatchObject({ name: "Error", message: "only text" })
})

test("a cyclic chain of causes ends", () => {
  const error = new Error("around")
  error.cause = error
  let depth = 0
  for (let at: unknown = sent(error); at instanceof Error; at = at.cause) depth++
  expect(depth).toBe(5)
})
