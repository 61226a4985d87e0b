import { OverloadedError } from "../../../errors.ts"
import type { ServerState } from "../../http/context.ts"
import type { EventLog } from "./event-log.ts"
import type { StoredItem } from "./items-schema.ts"
import type { ResponseBody } from "./schema.ts"
import { ResponseStore, type StoredResponse } from "./store.ts"

/** `Retry-After` of a server that is shutting down, in seconds. */
const RETRY_S = 5
/** How many ended background streams stay replayable, and the length of the longest of them as JSON. */
const REPLAYABLE = 16
const REPLAYABLE_LENGTH = 2 ** 17
/** Milliseconds that cancelled responses have to end. */
const CANCEL_MS = 2000

/** A response that is being generated, and will be stored. */
export interface RunningResponse extends StoredResponse {
  /** As it is now. */
  readonly response: ResponseBody
  readonly input: readonly StoredItem[]
  /** The hash of the API key that created it; "" without a key. */
  readonly owner: string
  readonly controller: AbortController
  /** Settles after the end of the response, when it is stored. Only for background responses. */
  ended?: Promise<void>
  /** Only for streamed background responses. */
  log?: EventLog
}

/** What the routes of `/v1/responses` share. */
export interface ResponsesState extends ServerState {
  readonly responses: Responses
}

/** A server's responses: the running ones by their ids, and the others in the store. */
export class Responses {
  readonly store: ResponseStore
  readonly #running = new Map<string, RunningResponse>()
  /** Ended background streams, the newest last. */
  readonly #streamed: { readonly id: string; readonly owner: string; readonly log: EventLog }[] = []
  #closed = false

  /** @param path The store's file. Default: in memory. @throws ResponseStoreError */
  constructor(path?: string) {
    this.store = new ResponseStore(path)
  }

  begin(running: RunningResponse): void {
    this.#running.set(running.response.id, running)
  }

  end({ response, owner, log }: RunningResponse): void {
    const { id } = response
    this.#running.delete(id)
    if (log === undefined || JSON.stringify(response).length > REPLAYABLE_LENGTH) return
    this.#streamed.push({ id, owner, log })
    if (this.#streamed.length > REPLAYABLE) this.#streamed.shift()
  }

  /** The events of a response that is or was streamed in the background. */
  log(id: string, owner: string): EventLog | undefined {
    const streamed = this.#streamed.find((one) => one.id === id)
    return this.running(id, owner)?.log ?? (streamed?.owner === owner ? streamed.log : undefined)
  }

  /** @returns whether there was such a response. */
  delete(id: string, owner: string): boolean {
    const streamed = this.#streamed.findIndex((one) => one.id === id)
    if (this.#streamed[streamed]?.owner === owner) this.#streamed.splice(streamed, 1)
    return this.store.delete(id, owner)
  }

  /** Stores the response as it is now, if its request says so and the server is not closed. */
  keep({ response, input, owner }: RunningResponse): void {
    if (response.store && !this.#closed) this.store.put({ response, input }, owner)
  }

  running(id: string, owner: string): RunningResponse | undefined {
    const running = this.#running.get(id)
    return running?.owner === owner ? running : undefined
  }

  find(id: string, owner: string): StoredResponse | undefined {
    return this.running(id, owner) ?? this.store.get(id, owner)
  }

  /** Cancels the background responses and closes the store. Safe twice. */
  async close(): Promise<void> {
    const running = [...this.#running.values()]
    const reason = new OverloadedError("the server is shutting down", "unavailable", RETRY_S)
    for (const { controller, ended } of running) if (ended !== undefined) controller.abort(reason)
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, CANCEL_MS)
    await Promise.race([Promise.all(running.map(({ ended }) => ended)), late.promise])
    clearTimeout(timer)
    this.#closed = true
    this.store.close()
  }
}
