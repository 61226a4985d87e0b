import { expect } from "bun:test"
import { post } from "../../support/http.ts"

/** POSTs a body as `curl -d` does, whose content type is not JSON. */
export const curl = (url: string, body: object, headers: Record<string, string> = {}) =>
  post(url, body, { headers: { "content-type": "application/x-www-form-urlencoded", ...headers } })

/** The status of a request that is refused, and its error, which must be the body's only field. */
export async function refusal(url: string, path: string, body: object) {
  const response = await curl(url + path, body)
  const { error, ...rest } = await response.json()
  expect(rest).toEqual({})
  return [response.status, error]
}
