import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ChecksumError, DownloadError, ModelNotFoundError, StoreError } from "../../../src/store/errors.ts"
import type { StoreEvent } from "../../../src/store/fetch-file.ts"
import { resolveModel } from "../../../src/store/resolve.ts"
import { skipWaitsOf } from "../../support/timers.ts"
import { until } from "../../support/until.ts"
import { FakeHub, fileBytes, sha256 } from "./fake-hub.ts"

const REPO = "maker/Tiny-GGUF"
const FILE = "tiny.Q8_0.gguf"
const NAME = `hf:${REPO}/${FILE}`

let hub: FakeHub
let home: string
let events: StoreEvent[]

beforeEach(() => {
  hub = new FakeHub()
  home = mkdtempSync(join(tmpdir(), "rocmforge-store-"))
  events = []
  hub.received = () => events.findLast((event) => event.type === "progress")?.done ?? 0
})
afterEach(async () => {
  await hub[Symbol.asyncDispose]()
  rmSync(home, { recursive: true, force: true })
})

const environment = () => ({
  ROCMFORGE_HOME: home,
  HF_ENDPOINT: `${hub.url}/`,
  HF_TOKEN: hub.token,
  PATH: process.env.PATH,
})
const resolve = (name = NAME) => resolveModel(name, { env: environment(), onProgress: (event) => events.push(event) })
const folder = () => join(home, "models", "hf", ...REPO.split("/"))
const notes = () => events.flatMap((event) => (event.type === "note" ? [event.message] : []))
const partsLeft = () => readdirSync(folder()).filter((name) => name.endsWith(".part"))

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error)) throw new Error("it did not fail")
  return error
}

describe("downloading from the hub", () => {
  test("stores the file, checks it, reports progress, and sends no request the second time", async () => {
    const bytes = fileBytes(300_000, 1)
    hub.add(REPO, FILE, bytes)
    const path = await resolve()
    expect(path).toBe(join(folder(), FILE))
    expect(sha256(readFileSync(path))).toBe(sha256(bytes))
    expect(readdirSync(folder()).sort()).toEqual([FILE, `${FILE}.receipt.json`])
    expect(events[0]).toEqual({ type: "start", label: FILE, total: 300_000, done: 0 })
    expect(events.at(-1)).toEqual({ type: "end", ok: true })
    expect(events).toContainEqual({ type: "progress", done: 300_000 })

    const asked = hub.hubLog.length
    expect(await resolve()).toBe(path)
    expect(hub.hubLog.length).toBe(asked)
  })

  test("resumes an interrupted body at the byte where it stopped", async () => {
    const bytes = fileBytes(500_000, 2)
    hub.add(REPO, FILE, bytes)
    hub.cuts = [200_000, 100_000]
    const path = await resolve()
    expect(sha256(readFileSync(path))).toBe(sha256(bytes))
    const ranges = hub.cdnLog.map(({ range }) => range)
    expect(ranges).toEqual([undefined, "bytes=200000-", "bytes=300000-"])
    expect(notes().filter((message) => message.includes("resuming")).length).toBe(2)
  })

  test("resumes the download of a killed process", async () => {
    const bytes = fileBytes(2_000_000, 3)
    hub.add(REPO, FILE, bytes)
    hub.chunk = 50_000
    hub.holdAfter = 200_000
    const child = spawnResolver()
    const kept = () => {
      const [part] = existsSync(folder()) ? partsLeft() : []
      return part === undefined ? 0 : statSync(join(folder(), part)).size
    }
    await until(() => kept() === 200_000)
    child.kill("SIGKILL")
    await child.exited
    expect(kept()).toBe(200_000)

    hub.release()
    const path = await resolve()
    expect(sha256(readFileSync(path))).toBe(sha256(bytes))
    expect(hub.cdnLog.at(-1)?.range).toBe("bytes=200000-")
    expect(partsLeft()).toEqual([])
  })

  test("starts over when the server ignores ranges", async () => {
    const bytes = fileBytes(400_000, 4)
    hub.add(REPO, FILE, bytes)
    hub.cuts = [150_000]
    hub.ignoreRanges = true
    expect(sha256(readFileSync(await resolve()))).toBe(sha256(bytes))
    expect(hub.cdnLog.map(({ status }) => status)).toEqual([200, 200])
  })

  test("a partial download of another version does not get into the new file", async () => {
    hub.add(REPO, FILE, fileBytes(400_000, 5))
    hub.failures = [403]
    hub.cuts = []
    await failure(resolve())
    writeFileSync(join(folder(), `${FILE}.${sha256(fileBytes(10, 1)).slice(0, 12)}.part`), fileBytes(1000, 6))
    expect(sha256(readFileSync(await resolve()))).toBe(sha256(fileBytes(400_000, 5)))
  })

  test("a request to a busy server is retried, a refused request is not", async () => {
    hub.add(REPO, FILE, fileBytes(1000, 7))
    hub.failures = [503, 429]
    await resolve()
    expect(hub.cdnLog.map(({ status }) => status)).toEqual([503, 429, 200])
  })

  test("a wrong hash is a distinct error, and the file is removed", async () => {
    const bytes = fileBytes(100_000, 8)
    hub.add(REPO, FILE, bytes, "ab".repeat(32))
    const error = await failure(resolve())
    expect(error).toBeInstanceOf(ChecksumError)
    expect(error.message).toContain(sha256(bytes))
    expect(error.message).toContain("ab".repeat(32))
    expect(readdirSync(folder())).toEqual([])
    expect(events.at(-1)).toEqual({ type: "end", ok: false })
  })

  test("the error for 401 names HF_TOKEN; with the token it works, and only the hub receives the token", async () => {
    hub.add(REPO, FILE, fileBytes(1000, 9))
    hub.token = "hf_secret"
    const withoutToken = resolveModel(NAME, { env: { ...environment(), HF_TOKEN: undefined } })
    const error = await failure(withoutToken)
    expect(error).toBeInstanceOf(DownloadError)
    expect((error as DownloadError).status).toBe(401)
    expect(error.message).toContain("HF_TOKEN")

    await resolve()
    expect(hub.hubLog.slice(-2).map(({ authorization }) => authorization)).toEqual([
      "Bearer hf_secret",
      "Bearer hf_secret",
    ])
    expect(hub.cdnLog.map(({ authorization }) => authorization)).toEqual([undefined])
  })

  test("a malformed token is refused with the variable's name", async () => {
    hub.add(REPO, FILE, fileBytes(10, 1))
    const error = await failure(resolveModel(NAME, { env: { ...environment(), HF_TOKEN: "nonsense" } }))
    expect(error).toBeInstanceOf(StoreError)
    expect(error.message).toContain("HF_TOKEN")
    expect(error.message).not.toContain("nonsense")
  })

  test("404 is reported as an unknown repository or an unknown file", async () => {
    const noRepo = await failure(resolve())
    expect(noRepo).toBeInstanceOf(DownloadError)
    expect((noRepo as DownloadError).status).toBe(404)
    hub.add(REPO, "other.gguf", fileBytes(10, 1))
    const noFile = await failure(resolve())
    expect(noFile).toBeInstanceOf(ModelNotFoundError)
    expect(noFile.message).toContain(FILE)
  })

  test("an unreachable hub fails at once with its address", async () => {
    const error = await failure(resolveModel(NAME, { env: { ...environment(), HF_ENDPOINT: "http://127.0.0.1:1" } }))
    expect(error).toBeInstanceOf(DownloadError)
    expect((error as DownloadError).failure).toBe("unreachable")
    expect(error.message).toContain("127.0.0.1:1")

    let connections = 0
    const open = (socket: { end(): void }) => {
      connections++
      socket.end()
    }
    using closing = Bun.listen({ port: 0, hostname: "127.0.0.1", socket: { open, data() {} } })
    const env = { ...environment(), HF_ENDPOINT: `http://127.0.0.1:${closing.port}` }
    expect(((await failure(resolveModel(NAME, { env }))) as DownloadError).failure).toBe("unreachable")
    expect(connections).toBe(1)
  })

  test("a hub that accepts a connection and never answers fails after five seconds", async () => {
    using silent = Bun.listen({ port: 0, hostname: "127.0.0.1", socket: { data() {} } })
    using skipped = skipWaitsOf(5000)
    const env = { ...environment(), HF_ENDPOINT: `http://127.0.0.1:${silent.port}` }
    const error = await failure(resolveModel(NAME, { env }))
    expect((error as DownloadError).failure).toBe("unreachable")
    expect(error.message).toContain("did not answer within 5 s")
    expect(skipped.waits).toHaveLength(1)
  })

  test("two processes at once: one downloads, both get the file", async () => {
    const bytes = fileBytes(1_000_000, 10)
    hub.add(REPO, FILE, bytes)
    // The download continues after the waiting process has printed its note.
    hub.chunk = 50_000
    hub.holdAfter = 50_000
    const children = [spawnResolver(), spawnResolver()]
    const outputs = await Promise.all(
      children.map(async (child) => {
        let output = ""
        for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
          output += text
          if (output.includes("another process is downloading")) hub.release()
        }
        return output
      }),
    )
    expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0])
    const paths = outputs.map((output) => JSON.parse(output.trimEnd().split("\n").at(-1) ?? "").path)
    expect(paths).toEqual([join(folder(), FILE), join(folder(), FILE)])
    expect(outputs.join("")).toContain("another process is downloading")
    expect(hub.cdnLog.length).toBe(1)
    expect(sha256(readFileSync(join(folder(), FILE)))).toBe(sha256(bytes))
  })

  test("all parts of a split model are downloaded, and the path of the first is returned", async () => {
    const parts = ["a/big-00001-of-00003.gguf", "a/big-00002-of-00003.gguf", "a/big-00003-of-00003.gguf"]
    for (const [i, part] of parts.entries()) hub.add(REPO, part, fileBytes(1000 + i, i + 1))
    expect(await resolve(`hf:${REPO}/${parts[0]}`)).toBe(join(folder(), parts[0] ?? ""))
    for (const [i, part] of parts.entries()) expect(statSync(join(folder(), part)).size).toBe(1000 + i)
  })

  test("a repository with one model needs no file name; several models are listed in the error", async () => {
    hub.add(REPO, "README.md", fileBytes(10, 1), undefined)
    hub.add(REPO, FILE, fileBytes(1000, 1))
    expect(await resolve(`hf:${REPO}`)).toBe(join(folder(), FILE))
    hub.add(REPO, "tiny.Q4_0.gguf", fileBytes(500, 2))
    const error = await failure(resolve(`hf:${REPO}`))
    expect(error).toBeInstanceOf(ModelNotFoundError)
    expect(error.message).toContain(`hf:${REPO}/${FILE}`)
    expect(error.message).toContain(`hf:${REPO}/tiny.Q4_0.gguf`)
  })

  test("a changed file loses its receipt and is downloaded again", async () => {
    const bytes = fileBytes(5000, 11)
    hub.add(REPO, FILE, bytes)
    const path = await resolve()
    writeFileSync(path, fileBytes(5000, 12))
    utimesSync(path, 1, 1)
    await resolve()
    expect(sha256(readFileSync(path))).toBe(sha256(bytes))
    expect(notes().some((message) => message.includes("is not the expected file"))).toBe(true)
  })

  test("cancelling keeps the partial download", async () => {
    hub.add(REPO, FILE, fileBytes(1_000_000, 13))
    hub.chunk = 50_000
    hub.holdAfter = 200_000
    const controller = new AbortController()
    const promise = resolveModel(NAME, {
      env: environment(),
      signal: controller.signal,
      onProgress: (event) => event.type === "progress" && event.done >= 200_000 && controller.abort(),
    })
    expect((await failure(promise)).name).toBe("AbortError")
    expect(partsLeft().length).toBe(1)
  })

  test("the error for a store that cannot be written names ROCMFORGE_HOME", async () => {
    hub.add(REPO, FILE, fileBytes(10, 1))
    const blocked = join(home, "blocked")
    writeFileSync(blocked, "")
    chmodSync(blocked, 0o444)
    const error = await failure(resolveModel(NAME, { env: { ...environment(), ROCMFORGE_HOME: blocked } }))
    expect(error).toBeInstanceOf(StoreError)
    expect(error.message).toContain("ROCMFORGE_HOME")
  })
})

/** A program that resolves NAME and prints each note as it arrives, then the path: one JSON object per line. */
function spawnResolver() {
  const module = join(import.meta.dir, "../../../src/store/resolve.ts")
  const script = `
    import { resolveModel } from ${JSON.stringify(module)}
    const onProgress = (event) => event.type === "note" && console.log(JSON.stringify({ note: event.message }))
    const path = await resolveModel(${JSON.stringify(NAME)}, { onProgress })
    console.log(JSON.stringify({ path }))`
  const env = { ...process.env, ROCMFORGE_HOME: home, HF_ENDPOINT: hub.url, HF_TOKEN: "" }
  return Bun.spawn([process.execPath, "-e", script], { env, stdout: "pipe", stderr: "inherit" })
}
