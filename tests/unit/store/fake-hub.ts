import { createHash } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { until } from "../../support/until.ts"

/** Deterministic bytes without a pattern: they differ between files and between offsets. */
export function fileBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed >>> 0 || 1
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex")

export interface Served {
  method: string
  path: string
  range: string | undefined
  authorization: string | undefined
  status: number
}

interface FakeFile {
  bytes: Uint8Array
  /** The hash in the LFS metadata; the true hash unless a test needs a wrong one. `undefined`: not an LFS file. */
  oid: string | undefined
}

/**
 * The hub endpoints that the store uses, on the loopback interface: paths-info, tree, and resolve, which redirects to a second origin
 * like the real hub's CDN and supports ranges.
 */
export class FakeHub implements AsyncDisposable {
  readonly files = new Map<string, FakeFile>()
  /** All requests to the hub and the CDN. */
  readonly hubLog: Served[] = []
  readonly cdnLog: Served[] = []
  /** Breaks the connections of the next bodies after these numbers of bytes, once the client has `received` them. */
  cuts: number[] = []
  /** Bytes of the file that the client has, as the test observes them: a reset would discard bytes that it has not read yet. */
  received: () => number = () => 0
  /** Ignore Range, as some proxies do. */
  ignoreRanges = false
  /** Bytes per chunk. */
  chunk = 64 * 1024
  /** Bodies stop after this many bytes, a multiple of `chunk`, until `release` is called. */
  holdAfter: number | undefined
  readonly #released = Promise.withResolvers<void>()
  /** Requests without this token get status 401. */
  token: string | undefined
  /** Status instead of a file, for the next downloads. */
  failures: number[] = []
  readonly #hub = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: (request) => this.#answerHub(request) })
  readonly #cdn = createServer((request, response) => this.#answerCdn(request, response)).listen(0, "127.0.0.1")

  get url(): string {
    return `http://127.0.0.1:${this.#hub.port}`
  }

  add(repo: string, path: string, bytes: Uint8Array, oid: string | undefined = sha256(bytes)): void {
    this.files.set(`${repo}/${path}`, { bytes, oid })
  }

  release(): void {
    this.holdAfter = undefined
    this.#released.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release()
    await this.#hub.stop(true)
    this.#cdn.closeAllConnections()
    this.#cdn.close()
  }

  #cdnPort(): number {
    const address = this.#cdn.address()
    if (address === null || typeof address === "string") throw new Error("the CDN does not listen")
    return address.port
  }

  async #answerHub(request: Request): Promise<Response> {
    const response = await this.#route(request)
    this.hubLog.push(served(request, response))
    return response
  }

  async #route(request: Request): Promise<Response> {
    const path = decodeURIComponent(new URL(request.url).pathname)
    if (this.token && request.headers.get("authorization") !== `Bearer ${this.token}`) {
      return Response.json({ error: "Invalid credentials" }, { status: 401 })
    }
    const info = /^\/api\/models\/([^/]+\/[^/]+)\/paths-info\//.exec(path)
    if (info?.[1]) {
      const { paths } = (await request.json()) as { paths: string[] }
      return this.#entries(info[1], (file) => paths.includes(file))
    }
    const tree = /^\/api\/models\/([^/]+\/[^/]+)\/tree\//.exec(path)
    if (tree?.[1]) return this.#entries(tree[1], () => true)
    const file = /^\/([^/]+\/[^/]+)\/resolve\/[^/]+\/(.+)$/.exec(path)
    if (file && this.files.has(`${file[1]}/${file[2]}`)) {
      return Response.redirect(`http://127.0.0.1:${this.#cdnPort()}/${file[1]}/${file[2]}`, 302)
    }
    return new Response("Entry not found", { status: 404, headers: { "X-Error-Code": "EntryNotFound" } })
  }

  #entries(repo: string, wanted: (path: string) => boolean): Response {
    const all = [...this.files].filter(([key]) => key.startsWith(`${repo}/`))
    if (all.length === 0) return Response.json({ error: "Repository not found" }, { status: 404 })
    const entries = all.map(([key, { bytes, oid }]) => ({
      type: "file",
      path: key.slice(repo.length + 1),
      size: bytes.length,
      oid: "0".repeat(40),
      ...(oid && { lfs: { oid, size: bytes.length, pointerSize: 134 } }),
    }))
    return Response.json(entries.filter(({ path }) => wanted(path)))
  }

  #answerCdn(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? "")
    const { range, authorization } = request.headers
    const file = this.files.get(path.slice(1))
    const total = file?.bytes.length ?? 0
    const from = this.ignoreRanges ? 0 : Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0)
    const isPartial = range !== undefined && !this.ignoreRanges
    const status = this.failures.shift() ?? (!file ? 404 : isPartial ? (from >= total ? 416 : 206) : 200)
    this.cdnLog.push({ method: request.method ?? "", path, range, authorization, status })
    if (!file || status >= 400) {
      response.writeHead(status).end()
      return
    }
    const headers = { "Content-Length": total - from, "Content-Type": "application/octet-stream" }
    response.writeHead(
      status,
      isPartial ? { ...headers, "Content-Range": `bytes ${from}-${total - 1}/${total}` } : headers,
    )
    void this.#sendBody(response, file.bytes, from, this.cuts.shift())
  }

  async #sendBody(response: ServerResponse, bytes: Uint8Array, from: number, cut = Number.POSITIVE_INFINITY) {
    const { chunk } = this
    for (let at = from; at < bytes.length && !response.destroyed; at += chunk) {
      if (this.holdAfter !== undefined && at >= this.holdAfter) await this.#released.promise
      if (at + chunk > from + cut) {
        response.write(bytes.slice(at, from + cut))
        await until(() => this.received() >= from + cut)
        response.socket?.destroy()
        return
      }
      response.write(bytes.slice(at, at + chunk))
    }
    response.end()
  }
}

const served = (request: Request, response: Response): Served => ({
  method: request.method,
  path: decodeURIComponent(new URL(request.url).pathname),
  range: request.headers.get("range") ?? undefined,
  authorization: request.headers.get("authorization") ?? undefined,
  status: response.status,
})
