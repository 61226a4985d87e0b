import { Worker } from "node:worker_threads"
import { EngineError, fieldMessage, RequestError } from "../errors.ts"
import { threadProgram } from "../program.ts"
import type { Constraint } from "./constraint.ts"
import { Matcher, type MatcherEvents } from "./matcher.ts"
import type { FromThread, ToThread } from "./messages.ts"

export interface GrammarOptions {
  /** The model file, whose tokenizer the thread reads. */
  path: string
  nVocab: number
  /** Milliseconds within which an answer must come; 10,000 by default. */
  limitMs?: number
  /** What the thread runs; `thread-main.ts` by default. */
  program?: string
}

/**
 * The constrained texts of one engine. All of them are followed by one thread, which is started for the first, so that no step waits for a
 * grammar. Where it does not answer in time it is ended, the text that kept it busy fails, and the others go on in a new one.
 */
export class Grammars {
  readonly #path: string
  readonly #nVocab: number
  readonly #limitMs: number
  readonly #program: string
  readonly #texts = new Map<number, Matcher>()
  #worker: Worker | undefined
  #busy: number | undefined
  #watch: ReturnType<typeof setInterval> | undefined
  /** When the text was asked for that was late already at the last look. */
  #late: number | undefined
  #next = 0

  constructor({ path, nVocab, limitMs = 10_000, program = threadProgram("grammar/thread-main.ts") }: GrammarOptions) {
    this.#path = path
    this.#nVocab = nVocab
    this.#limitMs = limitMs
    this.#program = program
  }

  /** Follows one more text, which must be closed. */
  open(constraint: Constraint, stopTokens: ReadonlySet<number>, events: MatcherEvents): Matcher {
    const id = this.#next++
    const text: Matcher = new Matcher(constraint, stopTokens, events, (message) => {
      if (this.#texts.get(id) !== text) return
      this.#post({ ...message, id })
      if (message.type === "close") this.#remove(id)
    })
    if (this.#texts.size === 0) this.#begin()
    this.#texts.set(id, text)
    this.#open(id, text)
    return text
  }

  /** Ends the thread; its texts get no masks any more. Safe twice. */
  close(): void {
    this.#end()
    this.#texts.clear()
    clearInterval(this.#watch)
  }

  #post(message: ToThread): void {
    this.#worker?.postMessage(message)
  }

  #open(id: number, text: Matcher): void {
    const { constraint, stopTokens, tokens } = text
    text.asked = performance.now()
    this.#post({ type: "open", id, constraint, stopTokens: [...stopTokens], tokens })
  }

  /** The thread is there, and keeps the process alive while there are texts. */
  #begin(): void {
    this.#watch = setInterval(() => this.#checkTime(), Math.min(1000, this.#limitMs / 4))
    this.#watch.unref()
    if (this.#worker) this.#worker.ref()
    else this.#start()
  }

  #start(): void {
    const worker = new Worker(this.#program)
    worker.on("message", (message: FromThread) => {
      if (worker === this.#worker) this.#receive(message)
    })
    worker.on("error", ({ message }: Error) => {
      if (worker === this.#worker) this.#restart(() => new EngineError(`the constraint's thread failed: ${message}`))
    })
    this.#worker = worker
    this.#post({ type: "vocabulary", path: this.#path, nVocab: this.#nVocab })
  }

  #end(): void {
    void this.#worker?.terminate()
    this.#worker = undefined
    this.#busy = undefined
  }

  #remove(id: number): void {
    this.#texts.delete(id)
    if (this.#texts.size > 0) return
    clearInterval(this.#watch)
    this.#worker?.unref()
    // Nobody waits for what it is busy with, nor looks whether that ends.
    if (this.#busy !== undefined) this.#end()
  }

  #receive(message: FromThread): void {
    const { id } = message
    const text = this.#texts.get(id)
    if (message.type === "waiting") {
      if (text) text.asked = undefined
      return
    }
    if (message.type === "begun") {
      this.#busy = id
      if (text) text.asked = performance.now()
      return
    }
    if (this.#busy === id) this.#busy = undefined
    if (!text) return
    if (message.type === "mask") {
      // In a new thread, an answer to what an earlier one was asked may come late.
      if (message.nTokens === text.tokens.length) text.setMask(message.mask)
    } else if (message.type === "failed")
      this.#fail(id, () => new EngineError(`the constraint's thread failed: ${message.reason}`))
    else this.#fail(id, () => refusal(text, message.reason))
  }

  #fail(id: number, errorFor: (text: Matcher) => Error): void {
    const text = this.#texts.get(id)
    if (!text) return
    text.close()
    text.events.onFailure(errorFor(text))
  }

  #checkTime(): void {
    const due = performance.now() - this.#limitMs
    const before = this.#late
    this.#late = [...this.#texts.values()].find(({ asked }) => asked !== undefined && asked < due)?.asked
    // Behind a long step its answer may be here, and only not have been read yet: that is done by the next look.
    if (this.#late === undefined || this.#late !== before) return
    const reason = `it took more than ${this.#limitMs / 1000} s to work out what may come next; simplify it`
    this.#restart((text) => refusal(text, reason))
  }

  /** Ends the thread and the text that it was busy with, and lets the others go on in a new one. */
  #restart(errorFor: (text: Matcher) => Error): void {
    const asked = [...this.#texts].filter(([, text]) => text.asked !== undefined)
    const [first] = asked.sort(([, a], [, b]) => (a.asked as number) - (b.asked as number))
    const culprit = this.#busy ?? first?.[0]
    this.#end()
    // Where none kept it busy it cannot run at all.
    for (const id of culprit === undefined ? [...this.#texts.keys()] : [culprit]) this.#fail(id, errorFor)
    if (this.#texts.size === 0) return
    this.#start()
    for (const [id, other] of this.#texts) this.#open(id, other)
  }
}

const refusal = ({ constraint: { param } }: Matcher, reason: string): RequestError =>
  new RequestError(fieldMessage`{${param}} cannot be kept to: ${reason}`, param, "invalid_constraint")
