/** Generates one response, from the request to the store. */

import type { LoadedModel } from "../../../engine/types.ts"
import { OverloadedError } from "../../../errors.ts"
import { type Chat, type ChatEvent, chatEvents, prepareChat } from "../../chat/chat.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import { withoutOldest } from "../../chat/truncate.ts"
import { invalidRequest, reportUnexpected, toApiError } from "../../http/errors.ts"
import type { JobContext } from "../../http/job.ts"
import { HEAD_START_MS, type StreamFormat } from "../../http/stream.ts"
import { FIELDS } from "./errors.ts"
import { inputItems } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { toChatRequest } from "./request.ts"
import type { Responses, RunningResponse } from "./responses.ts"
import type { ResponseBody, ResponseEvent, ResponseRequest } from "./schema.ts"
import { newResponse, ResponseWriter } from "./writer.ts"

/** Server-sent events with their types as names. The stream ends with the last of them. */
export const RESPONSE_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `event: ${(item as ResponseEvent).type}\ndata: ${JSON.stringify(item)}\n\n`,
  end: "",
  failure: (error) =>
    `event: error\ndata: ${JSON.stringify({ type: "error", code: error.code, ...error.shown(FIELDS), sequence_number: 0 })}\n\n`,
  ping: ": ping\n\n",
}

/**
 * Milliseconds in which a failure still gets an HTTP status of its own. After them the first events, which need no token, are sent. Less
 * than what the stream waits for its first event.
 */
const FAILURE_MS = 0.8 * HEAD_START_MS

/** One response, ready to be generated: one of the three methods is called, once. */
export class ResponseRun {
  /** See {@link ResponseRun.prepare}. */
  constructor(
    readonly responses: Responses,
    readonly chat: Chat,
    readonly writer: ResponseWriter,
    readonly running: RunningResponse,
  ) {}

  /** @throws ApiError 400, RequestError */
  static async prepare(
    responses: Responses,
    model: LoadedModel,
    context: JobContext,
    body: ResponseRequest,
  ): Promise<ResponseRun> {
    const { controller, queue } = context
    const owner = queue.key ?? ""
    const { input, request } = conversationOf(responses, body, owner)
    const fitting = body.truncation === "auto" ? await withoutOldest(model, request) : request
    const chat = await prepareChat(model, context, fitting)
    const response = newResponse(context, body)
    const writer = new ResponseWriter(response, model.tokenizer, request.logprobs !== undefined, body)
    return new ResponseRun(responses, chat, writer, { response, input, owner, controller })
  }

  /** @throws whatever the generation throws; then nothing is stored. */
  async complete(): Promise<ResponseBody> {
    for await (const _ of this.#answer(chatEvents(this.chat))) {
      // Each event has updated the response.
    }
    return this.running.response
  }

  /** The events. A failure before the first event is thrown; a later one is the last event. */
  async *events(): AsyncGenerator<ResponseEvent, void, void> {
    const events = chatEvents(this.chat)
    const first = events.next()
    // It may fail before anything awaits it.
    first.catch(() => {})
    await Promise.race([first, Bun.sleep(FAILURE_MS)])
    yield* this.#allEvents(events, first)
  }

  /** Generates it without a connection. The result is in the store. */
  async inBackground(): Promise<void> {
    const { log } = this.running
    try {
      for await (const event of this.#allEvents(chatEvents(this.chat))) log?.push(event)
    } finally {
      log?.end()
    }
  }

  /** The events from `response.created` to the end, also of a response that fails. */
  async *#allEvents(
    events: AsyncGenerator<ChatEvent, void, void>,
    first = events.next(),
  ): AsyncGenerator<ResponseEvent, void, void> {
    const { responses, running, writer } = this
    const { store } = running.response
    if (store) responses.begin(running)
    try {
      yield* writer.begin()
      yield* this.#answer(events, first)
    } catch (thrown) {
      if (isCancelled(thrown, running.controller.signal)) {
        writer.cancel()
        responses.keep(running)
        return
      }
      reportUnexpected(thrown)
      const failed = writer.fail(toApiError(thrown))
      responses.keep(running)
      yield failed
    } finally {
      responses.end(running)
    }
  }

  async *#answer(
    events: AsyncGenerator<ChatEvent, void, void>,
    first = events.next(),
  ): AsyncGenerator<ResponseEvent, void, void> {
    try {
      for (let next = await first; !next.done; next = await events.next()) {
        for (const event of this.writer.write(next.value)) {
          // A client that reads the last event can retrieve the response.
          if (event.type === "response.completed" || event.type === "response.incomplete")
            this.responses.keep(this.running)
          yield event
        }
      }
    } finally {
      await events.return()
    }
  }
}

/** Whether the client disconnected or cancelled the response. An abort by the server is a failure. */
const isCancelled = (thrown: unknown, { reason }: AbortSignal): boolean =>
  thrown === reason && !(thrown instanceof OverloadedError)

/** The number of tokens that a response's prompt would have. @throws ApiError 400, RequestError */
export async function countInput(
  responses: Responses,
  model: LoadedModel,
  owner: string,
  body: ResponseRequest,
): Promise<number> {
  const { request } = conversationOf(responses, body, owner)
  const fitting = body.truncation === "auto" ? await withoutOldest(model, request) : request
  return (await encodeChat(model, renderChat(model, fitting))).length
}

/** The request's own input, and the neutral request with the whole conversation. @throws ApiError 400 */
function conversationOf(responses: Responses, body: ResponseRequest, owner: string) {
  const input = inputItems(body.input, (id) => responses.store.item(id, owner))
  return { input, request: toChatRequest(body, [...history(responses, body.previous_response_id, owner), ...input]) }
}

/**
 * The items of a response and of all responses that it continues.
 * @throws ApiError 400 when one of them does not exist, or has not ended.
 */
function history(responses: Responses, id: string | null | undefined, owner: string): StoredItem[] {
  if (id === undefined || id === null) return []
  const refuse = (what: string) =>
    invalidRequest(`'previous_response_id': ${what}.`, "previous_response_id", "previous_response_not_found")
  if (responses.running(id, owner) !== undefined) throw refuse(`the response '${id}' has not ended yet`)
  const chain = responses.store.chain(id, owner)
  if (chain === undefined) {
    const why = "it was not stored, was deleted, or is too old"
    const there = responses.store.get(id, owner) !== undefined
    throw refuse(there ? `a response that '${id}' continues is gone` : `there is no response '${id}': ${why}`)
  }
  return chain.flatMap(({ response, input }) => [...input, ...response.output])
}
