/**
 * Requests of all kinds to every operation of the live OpenAPI document: none may fail the server, hang, or be answered in a way that the
 * document does not tell of. ROCMFORGE_FUZZ_REQUESTS says how many (1000), ROCMFORGE_FUZZ_SEED which.
 */

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import fc from "fast-check"
import { createLog } from "../../src/server/index.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { DocumentCheck } from "./fuzz/check.ts"
import { type FuzzRequest, type Known, type OpenApi, requestsOf } from "./fuzz/requests.ts"
import { until } from "./support/script-model.ts"
import { type FileServer, serveFile } from "./support/serve-file.ts"

const REQUESTS = Number(process.env.ROCMFORGE_FUZZ_REQUESTS ?? 1000)
const SEED = Number(process.env.ROCMFORGE_FUZZ_SEED ?? 5)
/** Requests under way at once. */
const AT_ONCE = 8
/** No request takes nearly as long; one that does hangs. */
const PATIENCE_MS = 20_000

setDefaultTimeout(60_000 + REQUESTS * 100)

let folder: string
let server: FileServer
const failures: string[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-fuzz-"))
  const path = join(folder, "tiny.gguf")
  await writeTinyModel(path, { context_length: 128 })
  const log = createLog({ format: "json", level: "error", write: (line) => failures.push(line) })
  server = await serveFile(path, { threads: 1 }, { log })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

async function send({ method, path, headers, body }: FuzzRequest) {
  const signal = AbortSignal.timeout(PATIENCE_MS)
  const response = await fetch(server.url + path, {
    method,
    headers,
    signal,
    redirect: "manual",
    ...(body !== undefined && { body }),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

/** Names of what the server has. */
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

test(`${REQUESTS} requests out of the OpenAPI document, seed ${SEED}`, async () => {
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

  // The requests got somewhere: every operation was answered, and those that take a body both took and refused some.
  for (const [route, methods] of Object.entries(document.paths)) {
    for (const [method, { requestBody }] of Object.entries(methods)) {
      const count = (status: number) => statuses.get(`${method.toUpperCase()} ${route} ${status}`) ?? 0
      const answered = Object.keys(methods[method]?.responses ?? {}).some((status) => count(Number(status)) > 0)
      expect({ method, route, answered }).toEqual({ method, route, answered: true })
      if (requestBody === undefined) continue
      expect({ route, served: count(200) > 0, refused: count(400) > 0 }).toEqual({ route, served: true, refused: true })
    }
  }
  // Responses in the background may still be made.
  await until(() => server.model.engine.stats().running + server.model.engine.stats().waiting === 0)
})
