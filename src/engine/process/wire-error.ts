/** Errors in messages between processes. Class, message and fields survive the transfer. */

import { z } from "zod"
import { ContextOverflowError, EngineError, OverloadedError, RequestError } from "../../errors.ts"
import { GgufError } from "../../gguf/errors.ts"
import { ModelError } from "../../models/errors.ts"
import { NativeError } from "../../native/errors.ts"
import { PlanError } from "../../plan/operands.ts"
import { ChatTemplateError } from "../../text/chat-errors.ts"
import { TokenizerError } from "../../text/tokenizer/errors.ts"
import { DeviceError } from "../device.ts"

export interface WireError {
  name: string
  message: string
  stack?: string | undefined
  /** The error's own fields. */
  fields: Record<string, Field>
  cause?: WireError | undefined
}

const field = z.union([z.string(), z.number(), z.boolean(), z.bigint(), z.undefined()])
type Field = z.infer<typeof field>

export const wireErrorSchema: z.ZodType<WireError> = z.object({
  name: z.string(),
  message: z.string(),
  stack: z.string().optional(),
  fields: z.record(z.string(), field),
  get cause() {
    return wireErrorSchema.optional()
  },
})

const CLASSES: readonly { prototype: Error; name: string }[] = [
  RequestError,
  ContextOverflowError,
  OverloadedError,
  EngineError,
  DeviceError,
  NativeError,
  GgufError,
  ModelError,
  PlanError,
  TokenizerError,
  ChatTemplateError,
]

/** Length of the chain of causes that is kept. */
const MAX_DEPTH = 4

export function toWire(thrown: unknown, depth = 0): WireError {
  if (!(thrown instanceof Error)) return { name: "Error", message: String(thrown), fields: {} }
  const fields = Object.entries(thrown).filter(([key, value]) => key !== "name" && field.safeParse(value).success)
  const { name, message, stack, cause } = thrown
  return {
    name,
    message,
    stack,
    fields: Object.fromEntries(fields) as Record<string, Field>, // filtered above
    ...(cause !== undefined && depth < MAX_DEPTH && { cause: toWire(cause, depth + 1) }),
  }
}

/** Restores an error with its class. An error of an unknown class becomes a plain Error that keeps its name. */
export function fromWire({ name, message, stack, fields, cause }: WireError): Error {
  const error = new Error(message, cause && { cause: fromWire(cause) })
  const known = CLASSES.find((candidate) => candidate.name === name)
  // Without calling the constructor: some of them add to the message.
  if (known) Object.setPrototypeOf(error, known.prototype)
  Object.defineProperty(error, "name", {
    value: name,
    configurable: true,
    writable: true,
    enumerable: known !== undefined,
  })
  if (stack !== undefined) error.stack = stack
  return Object.assign(error, fields)
}
