import type { BlockTable } from "./kv-cache.ts"
import type { EngineEvent, FinishReason, GenerateRequest, Usage } from "./types.ts"

/** One request on its way through the engine: its tokens, its cache, and the queue of events that its consumer reads. */
export class Sequence {
  readonly output: number[] = []
  /** Tokens whose K and V are in the cache. */
  n_cached = 0
  /** Set while it is running. */
  blocks: BlockTable | undefined
  /** What it may generate: `max_tokens`, or what the context leaves. */
  readonly max_output: number
  /** Occurrences in the output, and 0 for tokens of the prompt alone; kept only when a penalty asks for them. */
  readonly counts: Map<number, number> | undefined

  readonly #events: EngineEvent[] = []
  #failure: Error | undefined
  #wake: (() => void) | undefined
  readonly #submitted = performance.now()
  #first: number | undefined
  #last: number | undefined

  constructor(
    readonly request: GenerateRequest,
    context_length: number,
  ) {
    this.max_output = Math.min(request.max_tokens, context_length - request.tokens.length)
    const { repetition_penalty, frequency_penalty, presence_penalty } = request.sampling
    if (repetition_penalty !== 1 || frequency_penalty !== 0 || presence_penalty !== 0) {
      this.counts = new Map(Array.from(request.tokens, (token) => [token, 0]))
    }
  }

  /** Prompt and output together. */
  get n_tokens(): number {
    return this.request.tokens.length + this.output.length
  }

  /** Tokens that the model has not seen. */
  get n_pending(): number {
    return this.n_tokens - this.n_cached
  }

  tokenAt(position: number): number {
    const { tokens } = this.request
    return (position < tokens.length ? tokens[position] : this.output[position - tokens.length]) ?? 0
  }

  /** Appends a generated token and says whether it ends the request. */
  accept(token: number, event: EngineEvent): FinishReason | undefined {
    this.#last = performance.now()
    this.#first ??= this.#last
    this.output.push(token)
    if (this.counts) this.counts.set(token, (this.counts.get(token) ?? 0) + 1)
    this.#push(event)
    if (this.request.stop_tokens.has(token)) return "stop"
    return this.output.length >= this.max_output ? "length" : undefined
  }

  finish(reason: FinishReason): void {
    this.#push({ type: "end", index: 0, reason, usage: this.#usage() })
  }

  /** Ends the request with an error in place of an `end`. */
  fail(error: Error): void {
    this.#failure = error
    this.#wake?.()
  }

  /** The events as they come, up to the `end`. @throws what `fail` was given, once the events before it are read. */
  async *events(): AsyncGenerator<EngineEvent, void, void> {
    for (;;) {
      const event = this.#events.shift()
      if (event) {
        yield event
        if (event.type === "end") return
      } else if (this.#failure) {
        throw this.#failure
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }

  #push(event: EngineEvent): void {
    this.#events.push(event)
    this.#wake?.()
  }

  #usage(): Usage {
    const now = performance.now()
    return {
      prompt_tokens: this.request.tokens.length,
      completion_tokens: this.output.length,
      cached_tokens: 0,
      prefill_ms: (this.#first ?? now) - this.#submitted,
      decode_ms: (this.#last ?? now) - (this.#first ?? now),
    }
  }
}
