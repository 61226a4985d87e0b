import { errorBody, toApiError } from "./errors.ts"

/** How long a failure may take to still get an HTTP status of its own; after it the stream has begun and errors become events. */
const HEAD_START_MS = 1000

export interface EventStreamOptions {
  /** Stops whatever produces the events; aborted when the client goes away. */
  readonly controller: AbortController
  /** Quiet time in milliseconds after which a comment is sent. */
  readonly pingMs: number
}

/**
 * Answers with server-sent events: each item as one `data:` line of JSON, then `data: [DONE]`. A failure after the start is sent as
 * an OpenAI error object and ends the stream without `[DONE]`.
 * @throws what the first item throws, if it does so within a second.
 */
export async function eventStream(events: AsyncIterable<unknown>, options: EventStreamOptions): Promise<Response> {
  const iterator = events[Symbol.asyncIterator]()
  const first = iterator.next()
  await Promise.race([first, Bun.sleep(HEAD_START_MS)])

  let open = true
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => {
      const encoder = new TextEncoder()
      // After `cancel` the stream takes nothing more; what still comes until the work has stopped is dropped.
      const write = (text: string) => {
        if (open) stream.enqueue(encoder.encode(text))
      }
      void send(write, iterator, first, options.pingMs).finally(() => {
        if (open) stream.close()
      })
    },
    cancel: () => {
      open = false
      options.controller.abort()
    },
  })
  return new Response(body, {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  })
}

/** Writes every event; never throws, since a failure is an event too. */
async function send(
  write: (text: string) => void,
  iterator: AsyncIterator<unknown>,
  first: Promise<IteratorResult<unknown>>,
  pingMs: number,
): Promise<void> {
  const ping = setInterval(() => write(": ping\n\n"), pingMs)
  try {
    for (let next = await first; !next.done; next = await iterator.next()) {
      write(`data: ${JSON.stringify(next.value)}\n\n`)
      ping.refresh()
    }
    write("data: [DONE]\n\n")
  } catch (thrown) {
    write(`data: ${JSON.stringify(errorBody(toApiError(thrown)))}\n\n`)
  } finally {
    clearInterval(ping)
  }
}
