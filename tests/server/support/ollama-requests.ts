import { expect } from "bun:test"

/** As `curl -d` does, which names no content type that is JSON. */
export const post = (url: string, path: string, body: object, headers: Record<string, string> = {}) =>
  fetch(url + path, { method: "POST", body: JSON.stringify(body), headers })
/** A request that is refused: its status, and the error that must be all there is. */
export async function refusal(url: string, path: string, body: object) {
  const response = await post(url, path, body)
  const { error, ...rest } = await response.json()
  expect(rest).toEqual({})
  return [response.status, error]
}
