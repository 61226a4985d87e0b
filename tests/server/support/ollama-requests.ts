import { expect } from "bun:test"
import { post } from "../../support/http.ts"

/** POSTs a body with the content type of `curl -d`, which is not JSON. */
export const curl = (url: string, body: object, headers: Record<string, string> = {}) =>
  post(url, body, { headers: { "content-type": "application/x-www-form-urlencoded", ...headers } })

/** Sends a request that must be refused. @returns its status and error; the body must have no other field */
export async function refusal(url: string, path: string, body: object) {
  const response = await curl(url + path, body)
  const { error, ...rest } = await response.json()
  expect(rest).toEqual({})
  return [response.status, error]
}
