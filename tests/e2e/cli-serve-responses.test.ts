/** Storage of responses by `rocmforge serve`: in memory, or in a database file. */

import { afterAll, afterEach, beforeAll, expect, test } from "bun:test"
import { join } from "node:path"
import OpenAI from "openai"
import { clientOf } from "../support/http.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { killLeftovers, listening, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("responses")
const at = (name: string) => join(folder.path, name)
const model = at("tiny.gguf")

beforeAll(async () => {
  await writeTinyModel(model)
})
afterEach(killLeftovers)
afterAll(folder.remove)

/** A running server with a client, and a function that stops it. */
async function serve(args: string[]) {
  const child = startCli(["serve", model, "--port", "0", "--log-level", "warn", ...args])
  return {
    responses: clientOf(await listening(child), "mine").responses,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM")
      expect(await child.exited).toBe(0)
    },
  }
}
const request = { model: "tiny", input: "Hi", max_output_tokens: 5, temperature: 0 }

test("responses survive a restart in a file, and are lost without one", async () => {
  const file = ["--responses-db", at("kept/responses.db")]
  let kept: OpenAI.Responses.Response
  let background: string
  {
    await using server = await serve(file)
    kept = await server.responses.create(request)
    // The server receives SIGTERM during this response, and completes it before it exits.
    background = (await server.responses.create({ ...request, max_output_tokens: 100, background: true })).id
  }
  {
    await using server = await serve(file)
    const { responses } = server
    expect(await responses.retrieve(kept.id)).toMatchObject({ status: kept.status, output: kept.output })
    expect((await responses.retrieve(background)).status).toMatch(/^(completed|incomplete)$/)
    const next = await responses.create({ ...request, previous_response_id: kept.id })
    expect(next.usage?.input_tokens).toBeGreaterThan(kept.usage?.input_tokens ?? Number.POSITIVE_INFINITY)
  }
  await using server = await serve([])
  const error = await server.responses.retrieve(kept.id).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(OpenAI.NotFoundError)
})

test("a file that is not a database is refused and left unchanged", async () => {
  const notes = "these are notes, and no database".repeat(20)
  await Bun.write(at("notes.txt"), notes)
  const { code, stderr } = await runCli(["serve", model, "--port", "0", "--responses-db", at("notes.txt")])
  expect(code).toBe(1)
  expect(stderr).toContain("Cannot keep responses in ")
  expect(stderr).toContain("--responses-db")
  expect(await Bun.file(at("notes.txt")).text()).toBe(notes)
})
