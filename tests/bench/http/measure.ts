/** Starts the server over a null engine, puts it under load, and reads its processor time from /proc. Linux only. */

import { readFileSync } from "node:fs"
import { join } from "node:path"
import { type LoadCount, load } from "./load.ts"

export interface MeasureOptions {
  /** Path of a GGUF file. Only its tokenizer and chat template are used. */
  readonly model: string
  /** Where the engine runs: in the server's process, or in a child process. */
  readonly engine: "inside" | "apart"
  readonly seconds: number
  /** Tokens of a plain chat answer, and of a streamed answer. */
  readonly tokens: { readonly chat: number; readonly stream: number }
  /** Whether the server has one processor to itself, and the clients and the engine process share another. */
  readonly pinned: boolean
}

export interface LoadReport {
  /** Requests per second, or tokens per second for streams. */
  perSecond: number
  /** Processor time of the server and of its engine process per request (per token for streams), in microseconds. */
  serverUs: number
  engineUs: number
  /** Processor time of the server and of the clients, as a share of the wall time. */
  serverBusy: number
  clientsBusy: number
}

export interface HttpReport {
  chat: LoadReport
  stream: LoadReport
}

/** Lowest accepted rates per second, with one processor for the server: chat answers of 16 tokens, and streamed tokens. */
export const FLOORS = { chat: 3000, stream: 50_000 }

const STREAMS = 64
const MESSAGES = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "Explain in two sentences why the sky is blue." },
]

export async function measureHttp(options: MeasureOptions): Promise<HttpReport> {
  const { model, engine, seconds, tokens, pinned } = options
  const command = [process.execPath, join(import.meta.dir, "server.ts"), model, engine]
  // Child processes that this process starts inherit the processor; the server gets its own by `taskset`.
  if (pinned) pin(process.pid, 1)
  const child = Bun.spawn(pinned ? ["taskset", "-c", "0", ...command] : command, {
    stdin: "pipe",
    stdout: "pipe",
    stderr: Bun.file("/dev/null"),
  })
  try {
    const started = JSON.parse(await firstLine(child.stdout)) as { port: number; engine: number | null }
    if (pinned && started.engine !== null) pin(started.engine, 1)
    const run = async (max_tokens: number, stream: boolean, ms: number): Promise<LoadReport> => {
      const body = JSON.stringify({ model: "null", messages: MESSAGES, max_tokens, stream, ignore_eos: true })
      const used = () => [child.pid, started.engine, process.pid].map((pid) => (pid === null ? 0 : cpuSeconds(pid)))
      const before = used()
      const count = await load({ port: started.port, connections: STREAMS, body, stream, ms })
      const [server = 0, apart = 0, clients = 0] = used().map((now, i) => now - (before[i] ?? 0))
      const n = stream ? streamedTokens(count, max_tokens) : checkedAnswers(count, max_tokens)
      return {
        perSecond: n / count.seconds,
        serverUs: (server / n) * 1e6,
        engineUs: (apart / n) * 1e6,
        serverBusy: server / count.seconds,
        clientsBusy: clients / count.seconds,
      }
    }
    // Warm-up: lets the JIT compile the hot paths.
    for (const stream of [false, true]) await run(tokens.chat, stream, Math.min(seconds, 1) * 1000)
    return {
      chat: await run(tokens.chat, false, seconds * 1000),
      stream: await run(tokens.stream, true, seconds * 1000),
    }
  } finally {
    child.stdin.end()
    await child.exited
  }
}

/** @returns the number of answers. @throws Error when the sample answer has no text or another number of tokens. */
function checkedAnswers({ requests, sample }: LoadCount, tokens: number): number {
  const { usage, choices } = JSON.parse(sample)
  if (usage.completion_tokens !== tokens || choices[0].message.content === "")
    throw new Error(`not an answer: ${sample}`)
  return requests
}

/** @returns the number of streamed tokens. A stream has one event per token, one before them, one after them, and `[DONE]`. */
function streamedTokens({ requests, events, sample }: LoadCount, tokens: number): number {
  if (events !== requests * (tokens + 3))
    throw new Error(`${requests} streams of ${tokens} tokens had ${events} events: ${sample}`)
  return requests * tokens
}

/** Processor time of a process and all its threads, user and system, in seconds. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ")
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function pin(pid: number, processor: number): void {
  const { success, stderr } = Bun.spawnSync(["taskset", "-a", "-c", "-p", String(processor), String(pid)])
  if (!success) throw new Error(`taskset failed: ${stderr}`)
}

async function firstLine(stream: AsyncIterable<Uint8Array>): Promise<string> {
  let text = ""
  for await (const bytes of stream) {
    text += new TextDecoder().decode(bytes)
    if (text.includes("\n")) return text.slice(0, text.indexOf("\n"))
  }
  throw new Error("the server ended before it listened")
}
