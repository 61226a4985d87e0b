/** Lightweight HTTP clients: keep-alive sockets, and parsers that read little more than the framing of an answer. */

import type { Socket } from "bun"

export interface LoadOptions {
  readonly port: number
  readonly connections: number
  /** The JSON of every request. */
  readonly body: string
  /** Whether the body requests a stream. */
  readonly stream: boolean
  /** How long to load the server, in milliseconds. Requests that are running then are completed. */
  readonly ms: number
}

export interface LoadCount {
  requests: number
  /** Number of `data:` lines in all streams; 0 for plain answers. */
  events: number
  seconds: number
  /** The first answer's body. */
  sample: string
}

const HEAD_END = Buffer.from("\r\n\r\n")
const EVENT = Buffer.from("data: ")
const LAST_CHUNK = Buffer.from("\r\n0\r\n\r\n")

/**
 * Sends requests over `connections` connections, each sending its next request when the previous one is answered.
 * @throws Error for an answer whose status is not 200
 */
export async function load({ port, connections, body, stream, ms }: LoadOptions): Promise<LoadCount> {
  const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/json\r\n`
  const request = Buffer.from(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  const count: LoadCount = { requests: 0, events: 0, seconds: 0, sample: "" }
  const start = performance.now()
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const over = Promise.withResolvers<void>()
      const answer = stream ? new StreamReader(count) : new AnswerReader(count)
      await Bun.connect({
        hostname: "127.0.0.1",
        port,
        socket: {
          open: (socket) => void socket.write(request),
          data: (socket: Socket, bytes) => {
            try {
              if (!answer.take(bytes)) return
              count.requests++
              if (performance.now() - start < ms) return void socket.write(request)
              over.resolve()
              socket.end()
            } catch (error) {
              over.reject(error)
            }
          },
          close: () => over.reject(new Error("the server closed a connection")),
          error: (_, error) => over.reject(error),
        },
      })
      await over.promise
    }),
  )
  count.seconds = (performance.now() - start) / 1000
  return count
}

function checkStatus(head: string): void {
  if (!head.startsWith("HTTP/1.1 200 ")) throw new Error(`the server refused: ${head}`)
}

/** Parses an answer with Content-Length. */
class AnswerReader {
  #bytes: Buffer = Buffer.alloc(0)

  constructor(readonly count: LoadCount) {}

  /** Whether the answer is complete. */
  take(bytes: Buffer): boolean {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    const end = this.#bytes.indexOf(HEAD_END)
    if (end < 0) return false
    const head = this.#bytes.toString("latin1", 0, end)
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1])
    if (this.#bytes.length < end + HEAD_END.length + length) return false
    checkStatus(this.#bytes.toString("utf8"))
    this.count.sample ||= this.#bytes.toString("utf8", end + HEAD_END.length)
    this.#bytes = Buffer.alloc(0)
    return true
  }
}

/** Parses a chunked answer. */
class StreamReader {
  /** The last bytes read so far, which may hold the start of a marker that continues in the next chunk. */
  #rest: Buffer = Buffer.alloc(0)
  #begun = false
  #sample = ""

  constructor(readonly count: LoadCount) {}

  take(more: Buffer): boolean {
    const bytes = Buffer.concat([this.#rest, more])
    if (!this.#begun) checkStatus(bytes.toString("utf8"))
    this.#begun = true
    if (this.count.sample === "") this.#sample += more.toString("utf8")
    let looked = 0
    for (let at = bytes.indexOf(EVENT); at >= 0; at = bytes.indexOf(EVENT, looked)) {
      this.count.events++
      looked = at + EVENT.length
    }
    const over = bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)
    this.#rest = over
      ? Buffer.alloc(0)
      : Buffer.from(bytes.subarray(Math.max(looked, bytes.length - LAST_CHUNK.length + 1)))
    if (over) {
      this.count.sample ||= this.#sample
      this.#begun = false
    }
    return over
  }
}
