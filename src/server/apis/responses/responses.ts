import { OverloadedError } from "../../../errors.ts"
import type { ServerState } from "../../http/context.ts"
import type { EventLog } from "./event-log.ts"
import type { StoredItem } from "./items-schema.ts"
import type { ResponseBody } from "./schema.ts"
import { ResponseStore, type StoredResponse } from "./store.ts"

/** When a server that shuts down may be back, in seconds. */
const RETRY_S = 5
/** Streams of the background that can be read again when they have ended: so many, none longer than this as JSON. */
const READ_AGAIN = 16
const READ_AGAIN_LENGTH = 2 ** 17
/** What responses that were stopped may take to end. */
const LAST_WORDS_MS = 2000

/** A response that is being made, and will be stored. */
export interface RunningResponse extends StoredResponse {
  /** As it is now. */
  readonly response: ResponseBody
  readonly input: readonly StoredItem[]
  /** Who made it: the hash of the API key; "" without one. */
  readonly owner: string
  readonly controller: AbortController
  /** Settles when it has ended, and was stored. Only of those that are made in the background. */
  ended?: Promise<void>
  /** Of those in the background that are streamed. */
  log?: EventLog
}

/** What the routes of `/v1/responses` share beyond what all routes share. */
export interface ResponsesState extends ServerState {
  readonly responses: Responses
}

/** A server's responses: those being made, by their ids, and the others in the store. */
export class Responses {
  readonly store: ResponseStore
  readonly #running = new Map<string, RunningResponse>()
  /** The newest comes last. */
  readonly #streamed: { readonly id: string; readonly owner: string; readonly log: EventLog }[] = []
  #closed = false

  /** @param path Where they are kept. Default: in memory. @throws ResponseStoreError */
  constructor(path?: string) {
    this.store = new ResponseStore(path)
  }

  begin(running: RunningResponse): void {
    this.#running.set(running.response.id, running)
  }

  end({ response, owner, log }: RunningResponse): void {
    const { id } = response
    this.#running.delete(id)
    if (log === undefined || JSON.stringify(response).length > READ_AGAIN_LENGTH) return
    this.#streamed.push({ id, owner, log })
    if (this.#streamed.length > READ_AGAIN) this.#streamed.shift()
  }

  /** The events of one that is or was streamed in the background. */
  log(id: string, owner: string): EventLog | undefined {
    const streamed = this.#streamed.find((one) => one.id === id)
    return this.running(id, owner)?.log ?? (streamed?.owner === owner ? streamed.log : undefined)
  }

  /** False when there is none. */
  delete(id: string, owner: string): boolean {
    const streamed = this.#streamed.findIndex((one) => one.id === id)
    if (this.#streamed[streamed]?.owner === owner) this.#streamed.splice(streamed, 1)
    return this.store.delete(id, owner)
  }

  /** Stores it as it is, where that is wanted, unless the server has ended. */
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

  /** Stops what is made in the background, and closes the store. Safe twice. */
  async close(): Promise<void> {
    const running = [...this.#running.values()]
    const reason = new OverloadedError("the server is shutting down", "unavailable", RETRY_S)
    for (const { controller, ended } of running) if (ended !== undefined) controller.abort(reason)
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, LAST_WORDS_MS)
    await Promise.race([Promise.all(running.map(({ ended }) => ended)), late.promise])
    clearTimeout(timer)
    this.#closed = true
    this.store.close()
  }
}
