/** One request of a supervised engine. */

import type { Clock } from "../../async.ts"
import { stringifyJson } from "../../json.ts"
import { EventQueue } from "../event-queue.ts"
import type {
  EngineEvent,
  FinishReason,
  GenerateRequest,
  PrefillOnlyResult,
  PromptProgress,
  TokenLogprobs,
  Usage,
} from "../types.ts"
import type { WireRequest } from "./protocol.ts"

let arrivals = 0

/** A request outside the engine process: its current attempt, its progress, and the queue that its consumer reads. */
export class SupervisedRequest {
  /** Handle of the attempt that is in an engine process; `undefined` while the request is held here. */
  handle: number | undefined
  /** Number of engine processes that had the request. */
  attempts = 0
  cancelled = false
  /** The request was held here once, so it must not be refused any more. */
  accepted = false
  /** Number in the order of arrival. */
  readonly arrival = ++arrivals

  readonly #clock: Clock
  readonly #submitted: number
  /** Milliseconds from submission to the attempt that is in an engine process. */
  #heldMs = 0
  #first: number | undefined
  #last: number
  /** [n] generated tokens of each sequence. */
  readonly #counts: Uint32Array
  readonly #ended = new Set<number>()
  readonly #events: EventQueue

  constructor(
    readonly request: GenerateRequest,
    clock: Clock,
  ) {
    this.#clock = clock
    this.#submitted = clock.now()
    this.#last = this.#submitted
    this.#counts = new Uint32Array(request.n ?? 1)
    this.#events = new EventQueue(this.#counts.length)
  }

  /** Part of the answer was delivered, so the request cannot be repeated. */
  get begun(): boolean {
    return this.#first !== undefined || this.#ended.size > 0
  }

  /** The consumer has every `end`, or an error. */
  get over(): boolean {
    return this.#events.failed || this.#ended.size === this.#counts.length
  }

  /** Milliseconds until its deadline. */
  get remainingMs(): number {
    return this.#submitted + (this.request.deadlineMs ?? Number.POSITIVE_INFINITY) - this.#clock.now()
  }

  /** Begins an attempt. @returns the request to send to the engine process. */
  forProcess(handle: number): WireRequest {
    this.handle = handle
    this.attempts++
    this.#heldMs = this.#clock.now() - this.#submitted
    // The id is unique per attempt: an earlier attempt or request with the same id may still be in the process.
    const { constraint, ...rest } = this.request
    const request = {
      ...rest,
      id: `${this.request.id}#${handle}`,
      ...(constraint && { constraint: stringifyJson(constraint) }),
    }
    return request.deadlineMs === undefined ? request : { ...request, deadlineMs: Math.max(1, this.remainingMs) }
  }

  token(index: number, token: number, logprobs: TokenLogprobs | undefined): void {
    this.#last = this.#clock.now()
    this.#first ??= this.#last
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#events.push(logprobs ? { type: "token", index, token, logprobs } : { type: "token", index, token })
  }

  progress({ processed, cached }: PromptProgress): void {
    this.#events.push({ type: "progress", index: 0, processed, cached })
  }

  /** @param usage As counted in the engine process. */
  end(index: number, reason: FinishReason, usage: Usage, result: PrefillOnlyResult): void {
    this.#end(index, reason, { ...usage, prefillMs: usage.prefillMs + this.#heldMs }, result)
  }

  /** Ends the unfinished sequences of a cancelled request that no engine process has. */
  endCancelled(): void {
    const now = this.#clock.now()
    const usage = {
      promptTokens: this.request.tokens.length,
      cachedTokens: 0,
      prefillMs: (this.#first ?? now) - this.#submitted,
      decodeMs: this.#last - (this.#first ?? this.#last),
    }
    for (const [index, completionTokens] of this.#counts.entries()) {
      this.#end(index, "cancelled", { ...usage, completionTokens })
    }
  }

  /** Ends the request with an error in place of the missing ends. */
  fail(error: Error): void {
    if (!this.over) this.#events.fail(error)
  }

  /** @see EventQueue.read */
  events(): AsyncGenerator<EngineEvent, void, void> {
    return this.#events.read()
  }

  #end(index: number, reason: FinishReason, usage: Usage, result?: PrefillOnlyResult): void {
    if (this.over || this.#ended.has(index)) return
    this.#ended.add(index)
    this.#events.push({ type: "end", index, reason, usage, ...result })
  }
}
