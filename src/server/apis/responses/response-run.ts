/** Makes one response, from the request to the store. */

import type { LoadedModel } from "../../../engine/types.ts"
import { OverloadedError } from "../../../errors.ts"
import { type Chat, type ChatEvent, chatEvents, prepareChat } from "../../chat/chat.ts"
import type { Run } from "../../chat/choices.ts"
import { encodeChat } from "../../chat/encode.ts"
import { renderChat } from "../../chat/prompt.ts"
import { invalidRequest, toApiError } from "../../http/errors.ts"
import { type FieldNames, renamed, renamingFields } from "../../http/field-names.ts"
import { HEAD_START_MS, type StreamFormat } from "../../http/stream.ts"
import type { ResponseEvent } from "./events-schema.ts"
import { inputItems } from "./items.ts"
import type { StoredItem } from "./items-schema.ts"
import { fieldNames, toChatRequest, withoutOldest } from "./request.ts"
import type { Responses, RunningResponse } from "./responses.ts"
import type { ResponseBody, ResponseRequest } from "./schema.ts"
import { newResponse, type ResponseHead, ResponseWriter } from "./writer.ts"

/** Server-sent events that name their type, as the Responses API sends them; nothing follows the last one. */
export const RESPONSE_EVENTS: StreamFormat = {
  contentType: "text/event-stream; charset=utf-8",
  event: (item) => `event: ${(item as ResponseEvent).type}\ndata: ${JSON.stringify(item)}\n\n`,
  end: "",
  failure: ({ message, param, code }) =>
    `event: error\ndata: ${JSON.stringify({ type: "error", code, message, param, sequence_number: 0 })}\n\n`,
  ping: ": ping\n\n",
}

/**
 * How long a failure may take to be answered as such, with a status of its own; then the first events go out, which need no token. Shorter
 * than what the stream waits for them.
 */
const FAILURE_MS = 0.8 * HEAD_START_MS

/** One response that is ready to be made, once: by one of its three methods. */
export class Responding {
  private constructor(
    readonly responses: Responses,
    readonly chat: Chat,
    readonly writer: ResponseWriter,
    readonly running: RunningResponse,
    readonly names: FieldNames,
  ) {}

  /** @throws ApiError 400 naming the field that cannot be served. */
  static async prepare(
    responses: Responses,
    model: LoadedModel,
    head: Run & ResponseHead,
    body: ResponseRequest,
  ): Promise<Responding> {
    const owner = head.standing.key ?? ""
    const { input, request } = conversationOf(responses, body, owner)
    const names = fieldNames(body)
    const chat = await renamingFields(names, async () =>
      prepareChat(model, head, body.truncation === "auto" ? await withoutOldest(model, request) : request),
    )
    const response = newResponse(head, body)
    const { controller } = head
    const writer = new ResponseWriter(response, model.tokenizer, request.logprobs === true)
    return new Responding(responses, chat, writer, { response, input, owner, controller }, names)
  }

  /** @throws what the generation throws; then nothing is stored. */
  async complete(): Promise<ResponseBody> {
    await renamingFields(this.names, async () => {
      for await (const _ of this.#answer(chatEvents(this.chat))) {
        // The response is what they make of it.
      }
    })
    return this.running.response
  }

  /** Its events. A failure after they have begun is the last of them; one before it is thrown. */
  async *events(): AsyncGenerator<ResponseEvent, void, void> {
    const events = chatEvents(this.chat)
    const first = events.next()
    // It may fail before it is waited for.
    first.catch(() => {})
    await renamingFields(this.names, () => Promise.race([first, Bun.sleep(FAILURE_MS)]))
    yield* this.#whole(events, first)
  }

  /** Makes it for nobody who waits: how it ends is in the store. */
  async inBackground(): Promise<void> {
    const { log } = this.running
    try {
      for await (const event of this.#whole(chatEvents(this.chat))) log?.push(event)
    } finally {
      log?.end()
    }
  }

  /** From `response.created` to the end, whichever it is. */
  async *#whole(
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
      const failed = writer.fail(toApiError(renamed(this.names, thrown)))
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
          // Whoever reads the end can retrieve it.
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

/** Its client left, or cancelled it; the server's own reasons are failures. */
const isCancelled = (thrown: unknown, { reason }: AbortSignal): boolean =>
  thrown === reason && !(thrown instanceof OverloadedError)

/**
 * Tokens of the prompt that a response would have.
 * @throws ApiError 400 naming the field that cannot be served.
 */
export function countInput(
  responses: Responses,
  model: LoadedModel,
  owner: string,
  body: ResponseRequest,
): Promise<number> {
  const { request } = conversationOf(responses, body, owner)
  return renamingFields(fieldNames(body), async () => {
    const fitting = body.truncation === "auto" ? await withoutOldest(model, request) : request
    return (await encodeChat(model, renderChat(model, fitting))).length
  })
}

/** The request's own input, and with what it goes on from what the model is asked. @throws ApiError 400 */
function conversationOf(responses: Responses, body: ResponseRequest, owner: string) {
  const input = inputItems(body.input, (id) => responses.store.item(id, owner))
  return { input, request: toChatRequest(body, [...history(responses, body.previous_response_id, owner), ...input]) }
}

/**
 * The items of a response and of all that it goes on from.
 * @throws ApiError 400 where one of them is not there, or not over.
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
    throw refuse(there ? `a response that '${id}' goes on from is gone` : `there is no response '${id}': ${why}`)
  }
  return chain.flatMap(({ response, input }) => [...input, ...response.output])
}
