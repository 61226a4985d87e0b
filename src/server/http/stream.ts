/**
 * Streamed responses, as server-sent events or as lines of JSON. Written by hand because frameworks pass every event through a
 * TransformStream, which is too slow for the 50,000 tokens per second that `bun tests/bench/http.ts` requires.
 */

import { type Clock, every, realClock } from "../../async.ts"
import { type ApiError, reportUnexpected, toApiError } from "./errors.ts"

/**
 * Milliseconds to wait for the first event before the response head is sent. A failure within this time gets an HTTP status of its
 * own; a later one becomes an event of the stream.
 */
export const HEAD_START_MS = 1000

/** How an API encodes its streams. */
export interface StreamFormat {
  readonly contentType: string
  readonly event: (item: unknown) => string
  /** Sent after the last event of a successful stream; may be empty. */
  readonly end: string
  /** Sent in place of `end` after a failure. */
  readonly failure: (error: ApiError) => string
  /** Sent when there was no event for a while; empty if the format has no comments. */
  readonly ping: string
}

interface EventStreamOptions {
  /** Aborted when the client disconnects, to stop the producer of the events. */
  readonly controller: AbortController
  /** Milliseconds without an event after which `format.ping` is sent. */
  readonly pingMs: number
  readonly format: StreamFormat
  /** Resources for the stream; disposed after the last event, or if the stream never starts. */
  readonly held: Disposable
  /** Measures the head start and `pingMs`. Default: the computer's clock. */
  readonly clock?: Clock
}

/**
 * A response that streams `events`. A failure after the response head is sent as `format.failure` and ends the stream.
 * @throws the error of the first event, if it fails within {@link HEAD_START_MS}.
 */
export async function eventStream(events: AsyncIterable<unknown>, options: EventStreamOptions): Promise<Response> {
  const { controller, pingMs, format, held, clock = realClock } = options
  const iterator = events[Symbol.asyncIterator]()
  const first = iterator.next()
  const late = Promise.withResolvers<void>()
  const timer = clock.setTimeout(late.resolve, HEAD_START_MS)
  try {
    await Promise.race([first, late.promise])
  } catch (error) {
    held[Symbol.dispose]()
    throw error
  } finally {
    clock.clearTimeout(timer)
  }
  const writer = new StreamWriter()
  const stopPings = every(clock, pingMs, () => writer.ping(format.ping))
  const sent = send(writer, iterator, first, format).finally(() => {
    stopPings()
    held[Symbol.dispose]()
    writer.end()
  })
  // Bun's direct streams send everything that is written in one turn of the event loop together. The DOM's types do not include them.
  const source: Bun.DirectUnderlyingSource = {
    type: "direct",
    pull: (sink) => {
      writer.open(sink)
      return sent
    },
    cancel: () => {
      writer.close()
      controller.abort()
    },
  }
  return new Response(new ReadableStream(source as unknown as UnderlyingSource), {
    headers: { "content-type": format.contentType, "cache-control": "no-cache", "x-accel-buffering": "no" },
  })
}

/** Writes a stream's text to its connection. Text is buffered until the connection is open, and dropped after it is closed. */
class StreamWriter {
  #sink: ReadableStreamDirectController | undefined
  #buffered = ""
  #ended = false
  #closed = false
  /** Whether anything was written since the last ping was due. */
  #active = false

  /** Bun is ready to send. */
  open(sink: ReadableStreamDirectController): void {
    this.#sink = sink
    if (this.#buffered !== "") sink.write(this.#buffered)
    this.#buffered = ""
    if (this.#ended) sink.end()
  }

  write(text: string): void {
    this.#active = true
    if (text === "" || this.#closed) return
    if (this.#sink === undefined) this.#buffered += text
    else this.#sink.write(text)
  }

  /** Writes `text` unless something else was written since the last call. */
  ping(text: string): void {
    if (!this.#active) this.write(text)
    this.#active = false
  }

  end(): void {
    this.#ended = true
    if (!this.#closed) this.#sink?.end()
  }

  /** The client has disconnected. */
  close(): void {
    this.#closed = true
    this.#sink = undefined
    this.#buffered = ""
  }
}

/** Writes every event. Never throws: a failure is written to the stream. */
async function send(
  writer: StreamWriter,
  iterator: AsyncIterator<unknown>,
  first: Promise<IteratorResult<unknown>>,
  format: StreamFormat,
): Promise<void> {
  try {
    for (let next = await first; !next.done; next = await iterator.next()) writer.write(format.event(next.value))
    writer.write(format.end)
  } catch (thrown) {
    reportUnexpected(thrown)
    writer.write(format.failure(toApiError(thrown)))
  }
}
