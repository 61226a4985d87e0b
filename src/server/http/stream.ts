import { type ApiError, reportUnexpected, toApiError } from "./errors.ts"

/** How long a failure may take to still get an HTTP status of its own; after it the stream has begun and errors become events. */
export const HEAD_START_MS = 1000

/** How one API writes its streams. */
export interface StreamFormat {
  readonly contentType: string
  readonly event: (item: unknown) => string
  /** What ends a stream that went well; may be empty. */
  readonly end: string
  /** What ends one that failed. */
  readonly failure: (error: ApiError) => string
  /** What goes out in quiet times; empty where the format knows no such thing. */
  readonly ping: string
}

export interface EventStreamOptions {
  /** Stops whatever produces the events; aborted when the client goes away. */
  readonly controller: AbortController
  /** Time in milliseconds after which a comment is sent if nothing else was. */
  readonly pingMs: number
  readonly format: StreamFormat
  /** What the events need: disposed of behind the last of them, or when there is none. */
  readonly held: Disposable
}

/**
 * Answers with a stream of events. A failure after the start is sent as the format's error and ends the stream without its `end`.
 * @throws what the first item throws, if it does so within a second.
 */
export async function eventStream(events: AsyncIterable<unknown>, options: EventStreamOptions): Promise<Response> {
  const { controller, pingMs, format, held } = options
  const iterator = events[Symbol.asyncIterator]()
  const first = iterator.next()
  try {
    await Promise.race([first, Bun.sleep(HEAD_START_MS)])
  } catch (error) {
    held[Symbol.dispose]()
    throw error
  }
  const outlet = new Outlet()
  const sent = send(outlet, iterator, first, format, pingMs).finally(() => {
    held[Symbol.dispose]()
    outlet.end()
  })
  // A kind of stream of Bun's: what is written in one turn of the event loop goes out together at its end. The DOM's types lack it.
  const source: Bun.DirectUnderlyingSource = {
    type: "direct",
    pull: (sink) => {
      outlet.open(sink)
      return sent
    },
    cancel: () => {
      outlet.close()
      controller.abort()
    },
  }
  return new Response(new ReadableStream(source as unknown as UnderlyingSource), {
    headers: { "content-type": format.contentType, "cache-control": "no-cache", "x-accel-buffering": "no" },
  })
}

/** Where a stream's text goes: kept until somebody reads it, and nowhere once nobody does. */
class Outlet {
  /** Something was written since it was set to false. */
  used = false
  #sink: ReadableStreamDirectController | undefined
  #kept = ""
  #over = false
  #closed = false

  open(sink: ReadableStreamDirectController): void {
    this.#sink = sink
    if (this.#kept !== "") sink.write(this.#kept)
    this.#kept = ""
    if (this.#over) sink.end()
  }

  write(text: string): void {
    this.used = true
    if (text === "" || this.#closed) return
    if (this.#sink === undefined) this.#kept += text
    else this.#sink.write(text)
  }

  end(): void {
    this.#over = true
    if (!this.#closed) this.#sink?.end()
  }

  close(): void {
    this.#closed = true
    this.#sink = undefined
    this.#kept = ""
  }
}

/** Writes every event; never throws, since a failure is an event too. */
async function send(
  outlet: Outlet,
  iterator: AsyncIterator<unknown>,
  first: Promise<IteratorResult<unknown>>,
  format: StreamFormat,
  pingMs: number,
): Promise<void> {
  const ping = setInterval(() => {
    if (!outlet.used) outlet.write(format.ping)
    outlet.used = false
  }, pingMs)
  try {
    for (let next = await first; !next.done; next = await iterator.next()) outlet.write(format.event(next.value))
    outlet.write(format.end)
  } catch (thrown) {
    reportUnexpected(thrown)
    outlet.write(format.failure(toApiError(thrown)))
  } finally {
    clearInterval(ping)
  }
}
