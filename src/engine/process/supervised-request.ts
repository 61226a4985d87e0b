import type { Clock } from "../../async.ts"
import { EventQueue } from "../event-queue.ts"
import type { EngineEvent, FinishReason, GenerateRequest, PrefillOnlyResult, TokenLogprobs, Usage } from "../types.ts"

let arrivals = 0

/** One request as its supervisor knows it: where it is, what has come of it, and the queue that its consumer reads. */
export class SupervisedRequest {
  /** The attempt that is in an engine process; `undefined` while it waits here. */
  handle: number | undefined
  /** Engine processes that had it. */
  attempts = 0
  cancelled = false
  /** It had to wait here once, and is not to be refused after that. */
  accepted = false
  /** Its place in the order of arrival. */
  readonly arrival = ++arrivals

  readonly #clock: Clock
  readonly #submitted: number
  /** Milliseconds from submission to the attempt that is in an engine process. */
  #heldMs = 0
  #first: number | undefined
  #last: number
  /** Tokens of each choice. */
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

  /** Something of the answer was given away, so that it cannot begin anew. */
  get begun(): boolean {
    return this.#first !== undefined || this.#ended.size > 0
  }

  /** It has got all its ends, or its error. */
  get over(): boolean {
    return this.#events.failed || this.#ended.size === this.#counts.length
  }

  /** Milliseconds until its deadline. */
  get remainingMs(): number {
    return this.#submitted + (this.request.deadlineMs ?? Number.POSITIVE_INFINITY) - this.#clock.now()
  }

  /** What to send to an engine process now. */
  forProcess(handle: number): GenerateRequest {
    this.handle = handle
    this.attempts++
    this.#heldMs = this.#clock.now() - this.#submitted
    // An id of its own: an earlier attempt, or an earlier request of this id, may not have left the process.
    const request = { ...this.request, id: `${this.request.id}#${handle}` }
    return request.deadlineMs === undefined ? request : { ...request, deadlineMs: Math.max(1, this.remainingMs) }
  }

  token(index: number, token: number, logprobs: TokenLogprobs | undefined): void {
    this.#last = this.#clock.now()
    this.#first ??= this.#last
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#events.push(logprobs ? { type: "token", index, token, logprobs } : { type: "token", index, token })
  }

  /** @param usage as counted in the engine process. */
  end(index: number, reason: FinishReason, usage: Usage, result: PrefillOnlyResult): void {
    this.#end(index, reason, { ...usage, prefillMs: usage.prefillMs + this.#heldMs }, result)
  }

  /** Ends the choices that have not ended: nobody wants them, and no engine process has them. */
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

  /** Ends the request with an error in place of the ends that are missing. */
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
