import { type ApiError, errorBody, toApiError } from "./errors.ts"

/** How long a failure may take to still get an HTTP status of its own; after it the stream has begun and errors become events. */
const HEAD_START_MS = 1000

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

/** Server-sent events as OpenAI's completions write them: each item as one `data:` line of JSON, then `data: [DONE]`. */
export const DATA_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `data: ${JSON.stringify(item)}\n\n`,
  end: "data: [DONE]\n\n",
  failure: (error) => `data: ${JSON.stringify(errorBody(error))}\n\n`,
  ping: ": ping\n\n",
}

export interface EventStreamOptions {
  /** Stops whatever produces the events; aborted when the client goes away. */
  readonly controller: AbortController
  /** Quiet time in milliseconds after which a comment is sent. */
  readonly pingMs: number
  /** Default {@link DATA_EVENTS}. */
  readonly format?: StreamFormat
}

/**
 * Answers with a stream of events. A failure after the start is sent as the format's error and ends the stream without its `end`.
 * @throws what the first item throws, if it does so within a second.
 */
export async function eventStream(events: AsyncIterable<unknown>, options: EventStreamOptions): Promise<Response> {
  const format = options.format ?? DATA_EVENTS
  const iterator = events[Symbol.asyncIterator]()
  const first = iterator.next()
  await Promise.race([first, Bun.sleep(HEAD_START_MS)])

  let open = true
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => {
      const encoder = new TextEncoder()
      // After `cancel` the stream takes nothing more; what still comes until the work has stopped is dropped.
      const write = (text: string) => {
        if (open && text !== "") stream.enqueue(encoder.encode(text))
      }
      void send(write, iterator, first, format, options.pingMs).finally(() => {
        if (open) stream.close()
      })
    },
    cancel: () => {
      open = false
      options.controller.abort()
    },
  })
  return new Response(body, {
    headers: { "content-type": format.contentType, "cache-control": "no-cache", "x-accel-buffering": "no" },
  })
}

/** Writes every event; never throws, since a failure is an event too. */
async function send(
  write: (text: string) => void,
  iterator: AsyncIterator<unknown>,
  first: Promise<IteratorResult<unknown>>,
  format: StreamFormat,
  pingMs: number,
): Promise<void> {
  const ping = setInterval(() => write(format.ping), pingMs)
  try {
    for (let next = await first; !next.done; next = await iterator.next()) {
      write(format.event(next.value))
      ping.refresh()
    }
    write(format.end)
  } catch (thrown) {
    write(format.failure(toApiError(thrown)))
  } finally {
    clearInterval(ping)
  }
}
