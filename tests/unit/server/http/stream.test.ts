/** Streamed responses on a fake clock: when the head is sent, how failures are reported, and when comments are sent. */

import { expect, test } from "bun:test"
import { nextTurn } from "../../../../src/async.ts"
import { EngineError } from "../../../../src/errors.ts"
import { DATA_EVENTS } from "../../../../src/server/apis/openai/wire.ts"
import { eventStream, HEAD_START_MS } from "../../../../src/server/http/stream.ts"
import { FakeClock } from "../../../support/clock.ts"

/** A stream with events from the test. */
function openStream(pingMs = 10_000) {
  const clock = new FakeClock()
  const controller = new AbortController()
  const ended = { disposed: 0 }
  let next = Promise.withResolvers<{ item: number } | "end">()
  const send = (event: { item: number } | "end") => {
    const { resolve } = next
    next = Promise.withResolvers()
    resolve(event)
  }
  const fail = (error: Error) => next.reject(error)
  async function* events() {
    for (;;) {
      const event = await next.promise
      if (event === "end") return
      yield event
    }
  }
  const held = { [Symbol.dispose]: () => void ended.disposed++ }
  const response = eventStream(events(), { controller, pingMs, format: DATA_EVENTS, held, clock })
  response.catch(() => {})
  return { clock, controller, ended, send, fail, response }
}

/** Collects a response's text as it arrives. */
function collect(response: Response): { text: string; done: Promise<void> } {
  const collected = { text: "", done: Promise.resolve() }
  collected.done = (async () => {
    for await (const bytes of response.body as ReadableStream<Uint8Array<ArrayBuffer>>)
      collected.text += new TextDecoder().decode(bytes)
  })()
  return collected
}

test("the head is sent with the first event, or after the head start if there is no event", async () => {
  for (const waits of [false, true]) {
    const { clock, send, response } = openStream()
    let isSent = false
    void response.then(() => {
      isSent = true
    })
    await clock.advance(HEAD_START_MS - 1)
    expect(isSent).toBe(false)
    if (waits) await clock.advance(1)
    else send({ item: 1 })
    await nextTurn()
    expect(isSent).toBe(true)
    if (waits) send({ item: 1 })
    await nextTurn()
    send("end")
    expect(await (await response).text()).toBe('data: {"item":1}\n\ndata: [DONE]\n\n')
    expect(clock.waits).toEqual([])
  }
})

test("a failure before the head is thrown; a later failure is the stream's last event", async () => {
  const early = openStream()
  early.fail(new Error("early"))
  await expect(early.response).rejects.toThrow("early")
  expect(early.ended.disposed).toBe(1)
  expect(early.clock.waits).toEqual([])

  const late = openStream()
  await late.clock.advance(HEAD_START_MS)
  const text = (await late.response).text()
  expect(late.ended.disposed).toBe(0)
  late.fail(new EngineError("late"))
  expect(await text).toMatch(/^data: \{"error":\{.*"code":"engine_error"\}\}\n\n$/)
  expect(late.ended.disposed).toBe(1)
  expect(late.clock.waits).toEqual([])
})

test("a comment is sent after every interval without an event", async () => {
  const { clock, send, response } = openStream(50)
  send({ item: 1 })
  const stream = collect(await response)
  await clock.advance(50) // an event was sent in this interval
  expect(stream.text).toBe('data: {"item":1}\n\n')
  await clock.advance(99)
  expect(stream.text).toBe('data: {"item":1}\n\n: ping\n\n')
  await clock.advance(1)
  expect(stream.text).toBe('data: {"item":1}\n\n: ping\n\n: ping\n\n')
  send({ item: 2 })
  await nextTurn()
  await clock.advance(99)
  expect(stream.text).toEndWith(': ping\n\ndata: {"item":2}\n\n')
  await clock.advance(1)
  send("end")
  await stream.done
  expect(stream.text).toBe('data: {"item":1}\n\n: ping\n\n: ping\n\ndata: {"item":2}\n\n: ping\n\ndata: [DONE]\n\n')
  expect(clock.waits).toEqual([])
})
