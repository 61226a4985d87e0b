/**
 * Adapts zod schemas to Elysia and its Swagger plugin. The plugin reads JSON schema from an object's own fields. Elysia validates through
 * `~standard`, which is not enumerable and so stays out of the printed document.
 */

import { z } from "zod"
import { validationError } from "./errors.ts"

/** The part of the Standard Schema interface that Elysia uses. `types` exists only for the compiler. */
interface Documented<Input, Output> {
  readonly "~standard": {
    readonly version: 1
    readonly vendor: "zod"
    readonly validate: (value: unknown) => { value: Output }
    readonly types?: { readonly input: Input; readonly output: Output }
  }
}

export const jsonSchema = (schema: z.ZodType, io: "input" | "output"): Record<string, unknown> =>
  z.toJSONSchema(schema, {
    target: "openapi-3.0",
    io,
    unrepresentable: "any",
    // zod bounds every integer by the largest exact double, which tells a reader nothing.
    override: ({ jsonSchema }) => {
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum
    },
  })

/** A request body, with a working example. A mismatch throws an `ApiError`, since Elysia's own error loses zod's codes and keys. */
export function requestBody<T extends z.ZodType>(schema: T, example: z.input<T>): Documented<z.input<T>, z.output<T>> {
  return carrying({ ...jsonSchema(schema, "input"), example }, (value) => {
    const result = schema.safeParse(value, { reportInput: true })
    if (!result.success) throw validationError(result.error)
    return { value: result.data }
  })
}

/** A response body. Fields that the schema does not have are removed; a mismatch is a bug of the server (500). */
export function responseBody<T extends z.ZodType>(schema: T): Documented<z.input<T>, z.output<T>> {
  return carrying(jsonSchema(schema, "output"), (value) => ({ value: schema.parse(value) }))
}

function carrying<Input, Output>(
  document: Record<string, unknown>,
  validate: (value: unknown) => { value: Output },
): Documented<Input, Output> {
  const value: Documented<Input, Output>["~standard"] = { version: 1, vendor: "zod", validate }
  return Object.defineProperty({ ...document }, "~standard", { value }) as unknown as Documented<Input, Output>
}
