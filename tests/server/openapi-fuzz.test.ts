/**
 * Valid and invalid requests to every operation of the live OpenAPI document: none may fail the server, hang, or receive an answer that
 * the document does not describe. ROCMFORGE_FUZZ_REQUESTS sets their number (1000), ROCMFORGE_FUZZ_SEED the seed.
 */

import { afterAll, beforeAll, expect, test } from "bun:test"
import fc from "fast-check"
import { createLog } from "../../src/server/index.ts"
import { idle, serveTiny, type TestServer } from "../support/http.ts"
import { until } from "../support/until.ts"
import { DocumentCheck } from "./fuzz/check.ts"
import { type FuzzRequest, type Known, type OpenApi, requestsOf } from "./fuzz/requests.ts"

const REQUESTS = Number(process.env.ROCMFORGE_FUZZ_REQUESTS ?? 1000)
const SEED = Number(process.env.ROCMFORGE_FUZZ_SEED ?? 5)
/** Number of concurrent requests. */
const AT_ONCE = 8
/** The default limit of `npm test`, or longer for more requests. */
const TIMEOUT_MS = 120_000 * Math.max(1, REQUESTS / 1000)

let server: TestServer
const failures: string[] = []

beforeAll(async () => {
  const log = createLog({ format: "json", level: "error", write: (line) => failures.push(line) })
  server = await serveTiny({ model: { context_length: 128 }, load: { threads: 1 }, server: { log } })
})
afterAll(() => server[Symbol.asyncDispose]())

/** Fails a little before the test's own limit, so that a request that hangs is named. */
const hanging = AbortSignal.timeout(TIMEOUT_MS - 10_000)

async function send({ method, path, headers, body }: FuzzRequest) {
  const response = await fetch(server.url + path, {
    method,
    headers,
    signal: hanging,
    redirect: "manual",
    ...(body !== undefined && { body }),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** Ids that exist on the server, for requests that name one. */
async function existing(): Promise<Known> {
  const id = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const body = JSON.stringify({ model: server.model.name, input: "x", max_output_tokens: 1 })
      const headers = { "content-type": "application/json" }
      const { id } = JSON.parse((await send({ method: "POST", route: "", path: "/v1/responses", headers, body })).text)
      return id
    }),
  )
  return { model: [server.model.name], id, previous_response_id: id }
}

test(
  `${REQUESTS} requests from the OpenAPI document, seed ${SEED}`,
  async () => {
    const document = (await (await fetch(`${server.url}/swagger/json`)).json()) as OpenApi
    const check = new DocumentCheck(document)
    const requests = fc.sample(requestsOf(document, await existing()), { seed: SEED, numRuns: REQUESTS })
    const problems: string[] = []
    const statuses = new Map<string, number>()
    const next = requests.values()
    const client = async () => {
      for (const request of next) {
        const { length } = failures
        const { status, problem } = await send(request).then(
          (answer) => ({ status: answer.status, problem: check.problem(request, answer) }),
          (error: unknown) => ({ status: 0, problem: `no answer: ${error}` }),
        )
        const key = `${request.method} ${request.route} ${status}`
        statuses.set(key, (statuses.get(key) ?? 0) + 1)
        if (problem !== undefined)
          problems.push(
            `${problem}\n${JSON.stringify(request).slice(0, 1500)}\n${failures.slice(length).join("").slice(0, 1500)}`,
          )
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, client))
    if (problems.length > 0)
      console.error(`seed ${SEED}: ${problems.length} of ${REQUESTS}\n${problems.slice(0, 10).join("\n\n")}`)
    expect(problems.length).toBe(0)
    expect(failures).toEqual([])

    // Coverage: every operation was answered, and every operation with a body both accepted and refused requests.
    for (const [route, methods] of Object.entries(document.paths)) {
      for (const [method, { requestBody }] of Object.entries(methods)) {
        const count = (status: number) => statuses.get(`${method.toUpperCase()} ${route} ${status}`) ?? 0
        const answered = Object.keys(methods[method]?.responses ?? {}).some((status) => count(Number(status)) > 0)
        expect({ method, route, answered }).toEqual({ method, route, answered: true })
        if (requestBody === undefined) continue
        // 501: the tiny model cannot rank or fill gaps, and the server saves no slots.
        expect({ route, served: count(200) + count(501) > 0, refused: count(400) > 0 }).toEqual({
          route,
          served: true,
          refused: true,
        })
      }
    }
    // Background responses may still run.
    await until(() => idle(server.model.engine))
  },
  TIMEOUT_MS,
)
