import { z } from "zod"

/** Every error of this server. */
export const errorBody = z.object({
  error: z.object({
    message: z.string(),
    type: z.enum([
      "invalid_request_error",
      "not_found_error",
      "rate_limit_error",
      "service_unavailable",
      "server_error",
    ]),
    param: z.string().nullable().describe("The request field at fault."),
    code: z.string().nullable(),
  }),
})
export type ErrorBody = z.output<typeof errorBody>
