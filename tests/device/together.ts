/**
 * `together.ts BACKEND`: ten threads, then ten processes open the device at once. Each must generate the same tokens as one alone, or
 * fail with a typed error that has a message.
 */

import { NativeError } from "../../src/native/errors.ts"
import { backendArgument, generateOnce, report, withTinyModel } from "./support.ts"

const COUNT = 10
const PROMPT = Int32Array.of(7, 3, 99, 120, 4, 4, 31)
const N_TOKENS = 12

type Outcome = { tokens: string } | { refused: string }

async function attempt(path: string, backend: string): Promise<Outcome> {
  try {
    return { tokens: (await generateOnce(path, backend, PROMPT, N_TOKENS)).join(" ") }
  } catch (error) {
    // Any other error ends the thread or the process, which counts as a failure.
    if (error instanceof NativeError) return { refused: error.message }
    throw error
  }
}

function threads(path: string, backend: string): Promise<PromiseSettledResult<Outcome>[]> {
  let ready = 0
  const workers: Worker[] = []
  const start = () => {
    for (const worker of workers) worker.postMessage({ path, backend })
  }
  const outcomes = Array.from(
    { length: COUNT },
    () =>
      new Promise<Outcome>((resolve, reject) => {
        const worker = new Worker(import.meta.path)
        workers.push(worker)
        worker.onmessage = ({ data }: MessageEvent<Outcome | "ready">) => {
          if (data !== "ready") resolve(data)
          else if (++ready === COUNT) start()
        }
        worker.onerror = (event) => reject(new Error(event.message))
      }),
  )
  return Promise.allSettled(outcomes).finally(() => {
    for (const worker of workers) worker.terminate()
  })
}

function processes(path: string, backend: string): Promise<PromiseSettledResult<Outcome>[]> {
  return Promise.allSettled(
    Array.from({ length: COUNT }, async (): Promise<Outcome> => {
      const child = Bun.spawn([process.execPath, import.meta.path, backend, path], { stdout: "pipe", stderr: "pipe" })
      const [out, err, code] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
        child.exited,
      ])
      if (code !== 0) throw new Error(`exit code ${code}: ${err.trim().split("\n").at(-1)}`)
      return JSON.parse(out) as Outcome // the child runs this same file
    }),
  )
}

function judge(kind: string, results: PromiseSettledResult<Outcome>[], want: string): void {
  const done = results.filter((result) => result.status === "fulfilled").map((result) => result.value)
  const good = done.filter((outcome) => "tokens" in outcome && outcome.tokens === want).length
  const refusals = done.filter((outcome) => "refused" in outcome)
  const broken = results.filter((result) => result.status === "rejected").map((result) => String(result.reason))
  const ok = good > 0 && good + refusals.length === COUNT
  report(ok, `${COUNT} ${kind} at once: ${good} generated the same tokens, ${refusals.length} were refused`)
  for (const refusal of refusals) console.log(`     refused: ${"refused" in refusal ? refusal.refused : ""}`)
  for (const outcome of done)
    if ("tokens" in outcome && outcome.tokens !== want) console.log(`     gave ${outcome.tokens}`)
  for (const reason of broken) console.log(`     broke: ${reason}`)
}

if (!Bun.isMainThread) {
  self.onmessage = async ({ data }: MessageEvent<{ path: string; backend: string }>) => {
    self.postMessage(await attempt(data.path, data.backend))
  }
  self.postMessage("ready")
} else if (process.argv[3]) {
  console.log(JSON.stringify(await attempt(process.argv[3], backendArgument())))
} else {
  const backend = backendArgument()
  await withTinyModel(async (path) => {
    const byThreads = await threads(path, backend)
    const byProcesses = await processes(path, backend)
    const alone = await attempt(path, backend)
    if ("refused" in alone) throw new Error(alone.refused)
    judge("threads", byThreads, alone.tokens)
    judge("processes", byProcesses, alone.tokens)
  })
}
