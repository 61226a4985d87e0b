import { type FileHandle, mkdir, open, rename, rm, statfs } from "node:fs/promises"
import { dirname } from "node:path"
import { type Expected, writeReceipt } from "./checksum.ts"
import { ChecksumError, DownloadError } from "./errors.ts"
import { fetchHeaders } from "./http.ts"

/** Progress of a download. */
export type StoreEvent =
  /** A message for the user. */
  | { type: "note"; message: string }
  /** Bytes. `total` is `undefined` if the source does not give the size. */
  | { type: "start"; label: string; total: number | undefined; done: number }
  | { type: "progress"; done: number }
  | { type: "end"; ok: boolean }

export type StoreListener = (event: StoreEvent) => void

/** A connection that delivers nothing for this time is closed and the download resumed. */
const STALL_MS = 30_000
/** Consecutive attempts without a new byte after which the download fails. */
const MAX_FRUITLESS = 5
const RETRY_DELAY_MS = 500

interface FileDownload {
  url: string
  headers: Record<string, string>
  /** Path of the finished file, which is renamed into place. */
  path: string
  expected: Expected
  label: string
  /** Name of the source in messages and in the receipt. */
  source: string
  onEvent?: StoreListener | undefined
  signal?: AbortSignal | undefined
}

/** A file that is being downloaded. All `size` bytes so far are on disk and in the hash. */
interface Part {
  path: string
  file: FileHandle
  size: number
  hasher: Bun.CryptoHasher
  /** The `start` event was sent. */
  announced: boolean
}

/**
 * Downloads to `<path>.<hash>.part`, checks size and SHA-256, and renames the file to `path`. A part that an earlier run left is
 * resumed. The caller must hold the file's lock.
 * @throws DownloadError, which keeps the part for resuming; ChecksumError, which removes it.
 */
export async function downloadFile(download: FileDownload): Promise<void> {
  const { path, expected } = download
  await mkdir(dirname(path), { recursive: true })
  const part = await openPart(partPath(path, expected))
  try {
    if (expected.bytes !== undefined) await needSpace(path, expected.bytes - part.size)
    await receiveAll(download, part)
    await part.file.sync()
  } catch (error) {
    if (part.announced) download.onEvent?.({ type: "end", ok: false })
    if (part.size === 0) await rm(part.path, { force: true })
    throw diskError(error, path)
  } finally {
    await part.file.close()
  }
  await finishPart(part, download)
}

export const partPath = (path: string, expected: Expected): string =>
  `${path}.${expected.sha256?.slice(0, 12) ?? "unhashed"}.part`

export async function openPart(path: string): Promise<Part> {
  const hasher = new Bun.CryptoHasher("sha256")
  const file = await open(path, "a+")
  let size = 0
  for await (const chunk of Bun.file(path).stream()) {
    hasher.update(chunk)
    size += chunk.length
  }
  return { path, file, size, hasher, announced: false }
}

export async function appendPart(part: Part, bytes: Uint8Array): Promise<void> {
  let written = 0
  while (written < bytes.length) written += (await part.file.write(bytes, written)).bytesWritten
  part.hasher.update(bytes)
  part.size += bytes.length
}

/** Checks the hash of a complete part, then renames it to its path or removes it. */
export async function finishPart(
  part: Part,
  download: Pick<FileDownload, "path" | "expected" | "source" | "onEvent">,
): Promise<void> {
  const { path, expected, source, onEvent } = download
  const actual = part.hasher.digest("hex")
  const genuine = expected.sha256 === undefined || actual === expected.sha256
  onEvent?.({ type: "end", ok: genuine })
  if (!genuine) {
    await rm(part.path, { force: true })
    throw new ChecksumError(path, expected.sha256 ?? "", actual, source)
  }
  await rename(part.path, path)
  writeReceipt(path, actual, source)
}

async function truncatePart(part: Part): Promise<void> {
  await part.file.truncate(0)
  part.hasher = new Bun.CryptoHasher("sha256")
  part.size = 0
}

async function receiveAll(download: FileDownload, part: Part): Promise<void> {
  const { expected, signal } = download
  if (expected.bytes !== undefined && part.size > expected.bytes) await truncatePart(part)
  let fruitless = 0
  for (;;) {
    signal?.throwIfAborted()
    if (expected.bytes !== undefined && part.size === expected.bytes) return announce(download, part)
    const before = part.size
    try {
      if (await receiveOnce(download, part)) return
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof DownloadError) || !isTransient(error)) throw error
      // A host that never answered is not retried; one that broke the connection half-way is.
      if (error.failure === "unreachable" && part.size === 0) throw error
      fruitless = part.size > before ? 0 : fruitless + 1
      if (fruitless >= MAX_FRUITLESS) throw error
      download.onEvent?.({ type: "note", message: `${error.message}; resuming at ${part.size} bytes` })
    }
    await Bun.sleep(RETRY_DELAY_MS * 2 ** fruitless)
  }
}

/** Sends the `start` event once. Its `done` is where the download resumes. */
function announce({ label, expected, onEvent }: FileDownload, part: Part, total?: number): void {
  if (!part.announced) onEvent?.({ type: "start", label, total: expected.bytes ?? total, done: part.size })
  part.announced = true
}

/** Whether a retry may succeed: server errors pass, refusals and full disks do not. */
const isTransient = (error: DownloadError): boolean =>
  error.failure !== "local" && (error.status === undefined || error.status === 429 || error.status >= 500)

/** Requests the rest of the file once. Returns true when the file is complete. */
async function receiveOnce(download: FileDownload, part: Part): Promise<boolean> {
  const { url, expected, source, signal } = download
  const headers: Record<string, string> = { ...download.headers, "Accept-Encoding": "identity" }
  if (part.size > 0) headers.Range = `bytes=${part.size}-`
  const response = await fetchHeaders(url, { headers, signal: signal ?? null })
  if (response.status === 416) {
    await response.body?.cancel()
    await truncatePart(part)
    throw new DownloadError(`${source} has a shorter file than the part that was downloaded before`, "unavailable")
  }
  if (!response.ok || !response.body) {
    await response.body?.cancel()
    throw new DownloadError(statusMessage(source, url, response.status), "unavailable", response.status)
  }
  const total = await alignPart(response, part, source)
  announce(download, part, total)
  if (expected.bytes !== undefined && total !== undefined && total !== expected.bytes) {
    await response.body.cancel()
    throw new DownloadError(`${source} offers ${total} bytes where ${expected.bytes} were expected`, "unavailable", 200)
  }
  await receiveBody(response.body, download, part)
  const goal = expected.bytes ?? total
  if (goal === undefined || part.size === goal) return true
  if (part.size > goal) {
    await truncatePart(part)
    throw new DownloadError(`${source} sent more bytes than it announced`, "unavailable")
  }
  throw new DownloadError(`${source} broke the connection`, "unavailable")
}

/** Truncates the part if the response starts from the beginning; returns the size of the whole file, if known. */
async function alignPart(response: Response, part: Part, source: string): Promise<number | undefined> {
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "")
    if (!range || Number(range[1]) !== part.size) {
      await response.body?.cancel()
      throw new DownloadError(`${source} answered with a different range than requested`, "unavailable", 206)
    }
    return range[2] === "*" ? undefined : Number(range[2])
  }
  await truncatePart(part) // the server ignores ranges and starts over
  const length = response.headers.get("Content-Length")
  return length === null ? undefined : Number(length)
}

async function receiveBody(body: ReadableStream<Uint8Array>, download: FileDownload, part: Part): Promise<void> {
  const reader = body.getReader()
  try {
    for (;;) {
      const chunk = await readOrStall(reader, download.source)
      if (!chunk) return
      await appendPart(part, chunk)
      download.onEvent?.({ type: "progress", done: part.size })
    }
  } catch (error) {
    void reader.cancel().catch(() => {}) // the first error is the one to report
    throw error
  }
}

async function readOrStall(
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> },
  source: string,
): Promise<Uint8Array | undefined> {
  let timer: Timer | undefined
  const stall = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DownloadError(`${source} sent nothing for ${STALL_MS / 1000} s`, "unavailable")),
      STALL_MS,
    )
  })
  try {
    const { done, value } = await Promise.race([reader.read(), stall])
    return done ? undefined : value
  } catch (error) {
    if (error instanceof DownloadError || (error instanceof Error && error.name === "AbortError")) throw error
    throw new DownloadError(`${source} broke the connection`, "unavailable")
  } finally {
    clearTimeout(timer)
  }
}

function statusMessage(source: string, url: string, status: number): string {
  const where = `${source} answered ${status} for ${new URL(url).pathname}`
  if (status === 401 || status === 403) {
    return `${where}: access is refused; set HF_TOKEN to a token that may read it (for a gated model, also accept its licence on the hub)`
  }
  if (status === 404) return `${where}: there is no such file, or it is private (then set HF_TOKEN)`
  return where
}

async function needSpace(path: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path))
  const free = bavail * bsize
  if (bytes > free) {
    throw new DownloadError(
      `${dirname(path)} has ${free} bytes free, but ${bytes} more are needed; free some space, or set ROCMFORGE_HOME to a folder on a larger disk`,
      "local",
    )
  }
}

const DISK_CODES = new Set(["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EEXIST"])

/** Turns an error of the disk into a DownloadError that names the remedy; returns other errors unchanged. */
export function diskError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || error instanceof DownloadError) return error
  const code: unknown = "code" in error ? error.code : undefined
  if (typeof code !== "string" || !DISK_CODES.has(code)) return error
  return new DownloadError(
    `cannot write ${path} (${code}); free space there, or set ROCMFORGE_HOME to a writable folder`,
    "local",
  )
}
