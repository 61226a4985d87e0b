/**
 * The agents of the command line. Each holds its own conversation with the scripted model: its real system prompt, its real tools, and for
 * `tools` the result of a tool that ran on this machine.
 */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { EnvironmentName, Feature } from "./clients.ts"
import { type Executed, execute } from "./execute.ts"
import { programOf } from "./install.ts"

/** Where an agent works: `url` of the server, `work` its folder with the file `note.txt`, `home` its settings. */
export interface Place {
  readonly scratch: string
  readonly url: string
  readonly model: string
  readonly work: string
  readonly home: string
}

/** Throws where the agent fails. */
type Trial = (place: Place) => Promise<void>
type Agent = Partial<Record<Feature, Trial>>

/** Milliseconds for one conversation. */
const LIMIT_MS = 120_000
const SECRET = "heliotrope"
const HELLO = "Hello there, friend."
const CHAT = `Say hello. <<say ${HELLO}>>`
const SCHEMA = {
  type: "object",
  properties: { word: { type: "string" } },
  required: ["word"],
  additionalProperties: false,
}

/** A new folder for one conversation, and a home without anyone's settings. */
export function placeFor(scratch: string, url: string, model: string, name: string): Place {
  const [work, home] = [join(scratch, "work", name), join(scratch, "homes", name)]
  for (const folder of [work, home]) {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
  }
  writeFileSync(join(work, "note.txt"), `the secret word is ${SECRET}\n`)
  return { scratch, url, model, work, home }
}

function contains(text: string, wanted: string, { code, stdout, stderr }: Executed): void {
  if (code === undefined) throw new Error(`no answer within ${LIMIT_MS / 1000} s`)
  if (text.includes(wanted)) return
  const seen = (text || stdout || stderr).trim().replaceAll(/\s+/g, " ")
  throw new Error(`exit ${code}, no "${wanted}" in: ${seen.slice(-300)}`)
}

/** The events of a program that prints one JSON object a line. */
const eventsOf = <Event>(stdout: string): Event[] =>
  stdout
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))

function manyPieces(pieces: readonly string[], ran: Executed): void {
  contains(pieces.join(""), HELLO, ran)
  if (pieces.length < 2) throw new Error("the answer came in one piece")
}

/** Runs an agent's program in a place, with nothing of this process's settings. */
const runIn = (
  { scratch, work, home }: Place,
  environment: EnvironmentName,
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Executed> => {
  const folders = { HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_CACHE_HOME: home, XDG_STATE_HOME: home }
  return execute([programOf(scratch, environment, program), ...args], {
    cwd: work,
    env: { ...folders, ...env },
    limitMs: LIMIT_MS,
  })
}

function claude(place: Place, prompt: string, ...args: string[]): Promise<Executed> {
  const { url, model } = place
  return runIn(place, "claude-code", "claude", ["-p", prompt, "--allowedTools", "Read", ...args], {
    ANTHROPIC_BASE_URL: url,
    ANTHROPIC_API_KEY: "none",
    ANTHROPIC_MODEL: model,
    ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  })
}

const claudeCode: Agent = {
  chat: async (place) => {
    const ran = await claude(place, CHAT, "--output-format", "json")
    contains(ran.stdout, HELLO, ran)
  },
  stream: async (place) => {
    const ran = await claude(place, CHAT, "--output-format", "stream-json", "--verbose", "--include-partial-messages")
    const deltas = eventsOf<{ event?: { delta?: { text?: string } } }>(ran.stdout)
    manyPieces(
      deltas.flatMap(({ event }) => event?.delta?.text ?? []),
      ran,
    )
  },
  tools: async (place) => {
    const call = `<<call Read ${JSON.stringify({ file_path: join(place.work, "note.txt") })}>>`
    const ran = await claude(place, `Read the note. ${call} <<say It says: {result}>>`, "--output-format", "json")
    contains(ran.stdout, SECRET, ran)
  },
  structured: async (place) => {
    const prompt = 'Give a word. <<call StructuredOutput {"word": "heliotrope"}>>'
    const ran = await claude(place, prompt, "--output-format", "json", "--json-schema", JSON.stringify(SCHEMA))
    contains(ran.stdout, '"structured_output":{"word":"heliotrope"}', ran)
  },
}

function codex(place: Place, prompt: string, ...args: string[]): Promise<Executed> {
  const { home, url, model } = place
  const settings = [
    `model = "${model}"`,
    'model_provider = "forge"',
    "[model_providers.forge]",
    'name = "forge"',
    `base_url = "${url}/v1"`,
    'wire_api = "responses"',
  ]
  writeFileSync(join(home, "config.toml"), settings.join("\n"))
  const common = ["--skip-git-repo-check", "--json", "--dangerously-bypass-approvals-and-sandbox"]
  return runIn(place, "codex", "codex", ["exec", ...common, ...args, prompt], { CODEX_HOME: home })
}

/** The text that Codex shows as its answer. */
const codexSays = ({ stdout }: Executed): string =>
  eventsOf<{ item?: { type: string; text?: string } }>(stdout)
    .flatMap(({ item }) => (item?.type === "agent_message" ? (item.text ?? "") : []))
    .join("\n")

const codexAgent: Agent = {
  // Every request of Codex is a stream.
  chat: async (place) => {
    const ran = await codex(place, CHAT)
    contains(codexSays(ran), HELLO, ran)
  },
  tools: async (place) => {
    const ran = await codex(place, 'Read. <<call exec_command {"cmd": "cat note.txt"}>> <<say It says: {result}>>')
    contains(codexSays(ran), SECRET, ran)
  },
  structured: async (place) => {
    const file = join(place.home, "schema.json")
    writeFileSync(file, JSON.stringify(SCHEMA))
    const ran = await codex(place, 'Give a word. <<say {"word": "heliotrope"}>>', "--output-schema", file)
    contains(codexSays(ran), '{"word": "heliotrope"}', ran)
  },
}

/** For gpt-5.5, Codex has a tool whose input is free text in a grammar. */
const codexPatch: Agent = {
  ...codexAgent,
  tools: async (place) => {
    const input = `*** Begin Patch\n*** Add File: made.txt\n+${SECRET}\n*** End Patch`
    const ran = await codex(place, `Make a file. <<call apply_patch ${JSON.stringify({ input })}>> <<say Done.>>`)
    const file = join(place.work, "made.txt")
    contains(existsSync(file) ? readFileSync(file, "utf8") : "", SECRET, ran)
  },
}

/** For gpt-6, Codex sends its tools as an item of the input, and has one whose input is a program that calls the others. */
const codexProgram: Agent = {
  ...codexAgent,
  tools: async (place) => {
    const input = "text(await tools.exec_command({ cmd: 'cat note.txt' }))"
    const ran = await codex(place, `Read. <<call exec ${JSON.stringify({ input })}>> <<say It says: {result}>>`)
    contains(codexSays(ran), SECRET, ran)
  },
}

function qwen(place: Place, prompt: string, ...args: string[]): Promise<Executed> {
  const { url, model } = place
  return runIn(place, "qwen-code", "qwen", ["-p", prompt, "--auth-type", "openai", "--yolo", ...args], {
    OPENAI_BASE_URL: `${url}/v1`,
    OPENAI_API_KEY: "none",
    OPENAI_MODEL: model,
  })
}

const qwenCode: Agent = {
  chat: async (place) => {
    const ran = await qwen(place, CHAT)
    contains(ran.stdout, HELLO, ran)
  },
  stream: async (place) => {
    const ran = await qwen(place, CHAT, "--output-format", "stream-json", "--include-partial-messages")
    const deltas = eventsOf<{ event?: { delta?: { text?: string } } }>(ran.stdout)
    manyPieces(
      deltas.flatMap(({ event }) => event?.delta?.text ?? []),
      ran,
    )
  },
  tools: async (place) => {
    const call = `<<call read_file ${JSON.stringify({ file_path: join(place.work, "note.txt") })}>>`
    const ran = await qwen(place, `Read the note. ${call} <<say It says: {result}>>`)
    contains(ran.stdout, SECRET, ran)
  },
  structured: async (place) => {
    const prompt = 'Give a word. <<call structured_output {"word": "heliotrope"}>>'
    const ran = await qwen(place, prompt, "--json-schema", JSON.stringify(SCHEMA), "--output-format", "json")
    contains(ran.stdout, SECRET, ran)
  },
}

function opencode(place: Place, prompt: string): Promise<Executed> {
  const { work, url, model } = place
  const provider = {
    npm: "@ai-sdk/openai-compatible",
    name: "forge",
    options: { baseURL: `${url}/v1` },
    models: { [model]: { name: model, limit: { context: 200_000, output: 8000 } } },
  }
  const name = `forge/${model}`
  const settings = { provider: { forge: provider }, model: name, small_model: name, permission: "allow" }
  writeFileSync(join(work, "opencode.json"), JSON.stringify(settings))
  return runIn(place, "opencode", "opencode", ["run", prompt, "--format", "json"])
}

const opencodeAgent: Agent = {
  // Every request of opencode is a stream, and its output has no pieces.
  chat: async (place) => {
    const ran = await opencode(place, CHAT)
    contains(ran.stdout, HELLO, ran)
  },
  tools: async (place) => {
    const call = `<<call read ${JSON.stringify({ filePath: join(place.work, "note.txt") })}>>`
    const ran = await opencode(place, `Read the note. ${call} <<say It says: {result}>>`)
    const said = eventsOf<{ type: string; part?: { text?: string } }>(ran.stdout)
      .flatMap(({ type, part }) => (type === "text" ? (part?.text ?? "") : []))
      .join("\n")
    contains(said, SECRET, ran)
  },
}

function continueCli(place: Place, prompt: string): Promise<Executed> {
  const { home, url, model } = place
  const file = join(home, "config.yaml")
  const settings = [
    "name: forge\nversion: 0.0.1\nschema: v1\nmodels:",
    `  - name: ${model}\n    provider: openai\n    model: ${model}\n    apiBase: ${url}/v1\n    apiKey: none`,
    "    roles: [chat]\n    capabilities: [tool_use]",
  ]
  writeFileSync(file, settings.join("\n"))
  return runIn(place, "continue", "cn", ["--config", file, "--auto", "-p", prompt])
}

const continueAgent: Agent = {
  // Every request is a stream.
  chat: async (place) => {
    const ran = await continueCli(place, CHAT)
    contains(ran.stdout, HELLO, ran)
  },
  tools: async (place) => {
    const call = `<<call Read ${JSON.stringify({ filepath: join(place.work, "note.txt") })}>>`
    const ran = await continueCli(place, `Read the note. ${call} <<say It says: {result}>>`)
    contains(ran.stdout, SECRET, ran)
  },
}

async function cline(place: Place, prompt: string): Promise<Executed> {
  const { url, model } = place
  const login = ["auth", "-p", "openai-compatible", "-k", "none", "-m", model, "-b", `${url}/v1`]
  await runIn(place, "cline", "cline", login)
  const ran = await runIn(place, "cline", "cline", ["--json", prompt])
  await runIn(place, "cline", "cline", ["hub", "stop"]) // a process that Cline leaves behind
  return ran
}

/** The events of Cline's answer. */
const clineEvents = ({ stdout }: Executed) =>
  eventsOf<{ type: string; text?: string; event?: { type: string; text?: string } }>(stdout).flatMap((line) => ({
    result: line.type === "run_result" ? line.text : undefined,
    piece: line.event?.type === "content_start" ? line.event.text : undefined,
  }))

const clineAgent: Agent = {
  chat: async (place) => {
    const ran = await cline(place, CHAT)
    contains(
      clineEvents(ran)
        .map(({ result }) => result ?? "")
        .join(""),
      HELLO,
      ran,
    )
  },
  stream: async (place) => {
    const ran = await cline(place, CHAT)
    manyPieces(
      clineEvents(ran).flatMap(({ piece }) => piece ?? []),
      ran,
    )
  },
  tools: async (place) => {
    const call = `<<call read_files ${JSON.stringify({ files: [{ path: join(place.work, "note.txt") }] })}>>`
    const ran = await cline(place, `Read the note. ${call} <<say It says: {result}>>`)
    contains(
      clineEvents(ran)
        .map(({ result }) => result ?? "")
        .join(""),
      SECRET,
      ran,
    )
  },
}

function aider(place: Place, prompt: string, ...args: string[]): Promise<Executed> {
  const { url, model } = place
  const quiet = ["--no-git", "--yes-always", "--no-show-model-warnings", "--no-check-update", "--analytics-disable"]
  return runIn(place, "aider", "aider", [...quiet, "--model", `openai/${model}`, ...args, "--message", prompt], {
    OPENAI_API_BASE: `${url}/v1`,
    OPENAI_API_KEY: "none",
    LITELLM_LOCAL_MODEL_COST_MAP: "True",
  })
}

const aiderAgent: Agent = {
  chat: async (place) => {
    const ran = await aider(place, CHAT, "--no-stream")
    contains(ran.stdout, HELLO, ran)
  },
  stream: async (place) => {
    const ran = await aider(place, CHAT, "--stream")
    contains(ran.stdout, HELLO, ran)
  },
  // It has no tools: it edits files by what the answer says.
  tools: async (place) => {
    const file = join(place.work, "made.txt")
    const ran = await aider(
      place,
      `Make a file. <<say made.txt\n\`\`\`\n${SECRET}\n\`\`\`\n>>`,
      "--edit-format",
      "whole",
    )
    contains(existsSync(file) ? readFileSync(file, "utf8") : "", SECRET, ran)
  },
}

/** The agents by the names of the clients. */
export const AGENTS: Readonly<Record<string, Agent>> = {
  "claude-code": claudeCode,
  "claude-code claude-sonnet-4-5": claudeCode,
  codex: codexAgent,
  "codex gpt-5.5": codexPatch,
  "codex gpt-6-sol": codexProgram,
  "qwen-code": qwenCode,
  opencode: opencodeAgent,
  continue: continueAgent,
  cline: clineAgent,
  aider: aiderAgent,
}
