/**
 * Real clients against the server, each changed in nothing but its URL:
 *
 *     bun tests/bench/clients/run.ts [NAME…] [--model NAME] [--url URL] [--folder SCRATCH] [--list] [--json]
 *
 * Installs the clients into the scratch folder (the first time; about 3 GB), starts the server of server.ts, lets each client chat, stream,
 * call a tool and use its result, give structured output, and embed texts, and prints a table. A NAME selects the clients whose names contain
 * it. Chats, streams and embeddings use the real model; tools and structured output the scripted one, and structured output then
 * the real one too, where the server enforces the schema. Agents use the scripted model alone, since their system prompts are longer than a
 * small model's context. --url uses a running server that has the models `real` and `scripted`. Exits with 1 where something fails.
 */

import { cpSync, mkdirSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { resolveModel } from "../../../src/store/resolve.ts"
import { AGENTS, placeFor } from "./agents.ts"
import { CLIENTS, type Client, type EnvironmentName, FEATURES, type Feature } from "./clients.ts"
import { execute, killAll } from "./execute.ts"
import { folderOf, install, programOf, versionOf } from "./install.ts"
import { type Outcome, type Row, tableOf } from "./table.ts"

/** Milliseconds for all features of one library. */
const LIBRARY_MS = 600_000

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: "smollm2-135m" },
    url: { type: "string" },
    folder: { type: "string", default: join(tmpdir(), "rocmforge-clients") },
    list: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
})
const selected = CLIENTS.filter(
  ({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)),
)
if (values.list || selected.length === 0) {
  console.log(CLIENTS.map(({ name }) => name).join("\n"))
  process.exit(values.list ? 0 : 2)
}
const scratch = resolve(values.folder)
mkdirSync(scratch, { recursive: true })

const features = ({ without = [] }: Client) => FEATURES.filter((feature) => !without.includes(feature))
const failed = (reason: string): Outcome => ({ ok: false, reason })

/** Lets a library run its own program for some features. */
async function library(client: Client, url: string, wanted: readonly Feature[], structured: string) {
  const { environment, program = "", provider = "", scripted = false } = client
  const talks = scripted ? "scripted" : "real"
  const python = environment !== "js"
  const folder = python ? join(import.meta.dir, "python") : join(folderOf(scratch, environment), "programs")
  // Node finds packages from the folder of the program that imports them.
  if (!python) cpSync(join(import.meta.dir, "js"), folder, { recursive: true })
  const command = python ? [programOf(scratch, environment, "python"), `${program}.py`] : ["node", `${program}.mjs`]
  const env = {
    ...{
      URL: url,
      PROVIDER: provider,
      OPENAI_API_KEY: "none",
      ANTHROPIC_API_KEY: "none",
      PYTHONDONTWRITEBYTECODE: "1",
    },
    ...{ MODEL_CHAT: talks, MODEL_STREAM: talks, MODEL_EMBEDDINGS: "real" },
    ...{ MODEL_TOOLS: "scripted", MODEL_STRUCTURED: structured },
    HOME: scratch,
  }
  const { code, stdout, stderr } = await execute([...command, ...wanted], { cwd: folder, env, limitMs: LIBRARY_MS })
  const lines = stdout.split("\n").filter((line) => line.startsWith('{"feature"'))
  const printed = lines.map((line) => JSON.parse(line) as Outcome & { feature: Feature })
  const missing = code === undefined ? `no answer within ${LIBRARY_MS / 1000} s` : stderr.trim().slice(-300)
  return new Map(
    wanted.map((feature) => [feature, printed.find((line) => line.feature === feature) ?? failed(missing)]),
  )
}

/** Lets an agent hold a conversation for each feature. Where it always streams, a chat is a stream. */
async function agent(client: Client, url: string): Promise<Map<Feature, Outcome>> {
  const trials = AGENTS[client.name] ?? {}
  const outcomes = new Map<Feature, Outcome>()
  for (const feature of features(client)) {
    const trial = trials[feature]
    if (trial === undefined) {
      outcomes.set(feature, outcomes.get("chat") ?? failed("it has no trial"))
      continue
    }
    const place = placeFor(scratch, url, client.model ?? "scripted", `${client.name}-${feature}`.replaceAll(" ", "-"))
    const outcome = await trial(place).then(
      () => ({ ok: true }),
      (error: unknown) => failed(error instanceof Error ? error.message : String(error)),
    )
    outcomes.set(feature, outcome)
  }
  return outcomes
}

async function attempt(client: Client, url: string): Promise<Row> {
  const { name, environment } = client
  const all = (outcome: Outcome) => new Map(features(client).map((feature) => [feature, outcome]))
  const trouble = await installed(environment)
  if (trouble !== undefined) return { name, version: "", outcomes: all(failed(trouble)) }
  const version = await versionOf(scratch, environment, client.package)
  if (client.program === undefined) return { name, version, outcomes: await agent(client, url) }
  const outcomes = await library(client, url, features(client), "scripted")
  if (outcomes.get("structured")?.ok && !client.scripted) {
    const again = (await library(client, url, ["structured"], "real")).get("structured")
    if (again?.ok === false) outcomes.set("structured", failed(`with the real model: ${again.reason}`))
  }
  return { name, version, outcomes }
}

/** By environment, why it cannot be used; `undefined` where it is installed. */
const environments = new Map<EnvironmentName, Promise<string | undefined>>()
function installed(name: EnvironmentName): Promise<string | undefined> {
  let state = environments.get(name)
  if (state === undefined) {
    state = install(scratch, name).then(
      () => undefined,
      (error: unknown) => String(error),
    )
    environments.set(name, state)
  }
  return state
}

/** Starts server.ts. */
async function startServer() {
  const command = [process.execPath, join(import.meta.dir, "server.ts"), await resolveModel(values.model)]
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: Bun.file(join(scratch, "server.log")) })
  for await (const bytes of child.stdout) {
    const url = new TextDecoder().decode(bytes).trim()
    return { url, stop: () => child.kill("SIGTERM") }
  }
  throw new Error(`the server ended; see ${join(scratch, "server.log")}`)
}

const server = values.url === undefined ? await startServer() : { url: values.url.replace(/\/$/, ""), stop: () => {} }
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => {
    server.stop()
    killAll()
    process.exit(130)
  })
const rows: Row[] = []
try {
  for (const client of selected) {
    const row = await attempt(client, server.url)
    rows.push(row)
    // Progress goes to standard error, so that standard output holds the table alone.
    console.error(
      `${row.name}: ${[...row.outcomes].map(([feature, { ok }]) => `${feature} ${ok ? "ok" : "FAILED"}`).join(", ")}`,
    )
  }
} finally {
  server.stop()
}
const plain = rows.map(({ outcomes, ...row }) => ({ ...row, outcomes: Object.fromEntries(outcomes) }))
console.log(values.json ? JSON.stringify(plain) : tableOf(rows))
process.exit(rows.some(({ outcomes }) => [...outcomes.values()].some(({ ok }) => !ok)) ? 1 : 0)
